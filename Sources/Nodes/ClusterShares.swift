// SPDX-License-Identifier: Apache-2.0

/// What each node of a ledger is due, if all that nodes want is divided fairly.
///
/// Each node keeps its minimum. What is left is divided by max-min: no node has more of it than a
/// node that wants more and does not get it.
struct ClusterShares {
  /// How much of what is left beyond the minima a node gets at most.
  private(set) var level: Int64
  private let ledger: ClusterLedger

  init(_ ledger: ClusterLedger) {
    self.ledger = ledger
    var (left, total): (Int64, Int64) = (ledger.goal, 0)
    for node in ledger.nodes.values {
      left -= node.minimum
      total += max(0, node.want - node.minimum)
    }
    level = max(0, left)
    if total <= left { return }
    let wishes = ledger.nodes.values.map { max(0, $0.want - $0.minimum) }.sorted()
    var count = Int64(wishes.count)
    for wish in wishes {
      level = max(0, left) / count
      if wish >= level { return }
      left -= wish
      count -= 1
    }
  }

  /// What a node is due: its minimum, and its part of the rest.
  func target(_ node: ClusterLedger.Node) -> Int64 {
    node.minimum + min(max(0, node.want - node.minimum), level)
  }

  /// What a node lacks.
  func shortage(_ node: ClusterLedger.Node) -> Int64 { max(0, target(node) - node.held) }

  /// What a node holds beyond what it is due.
  func excess(_ node: ClusterLedger.Node) -> Int64 { max(0, node.held - target(node)) }
}

extension ClusterLedger {
  /// The part of the goal that a node which declares this much keeps without a word.
  ///
  /// If all declare more than there is, each keeps the same part of what it declares.
  func minimum(declaring declared: Int64) -> Int64 {
    let all = self.declared
    guard all > goal, all > 0 else { return declared }
    let (high, low) = declared.multipliedFullWidth(by: goal)
    return all.dividingFullWidth((high, low)).quotient
  }

  /// Hands what a node releases to those that lack most; what none of them lacks is free.
  mutating func hand(_ amount: Int64, from name: String, by shares: ClusterShares) {
    guard let node = nodes[name] else { return }
    let given = min(max(amount, 0), node.held)
    give(given, of: name)
    var left = given
    let askers = nodes.filter { $0.key != name && shares.shortage($0.value) > 0 }
      .sorted { (-shares.shortage($0.value), $0.key) < (-shares.shortage($1.value), $1.key) }
    for (asker, node) in askers where left > 0 {
      let part = min(left, shares.shortage(node))
      take(part, for: asker)
      left -= part
    }
  }
}
