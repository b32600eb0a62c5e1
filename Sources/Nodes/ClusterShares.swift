// SPDX-License-Identifier: Apache-2.0

/// What each node of a ledger is due, if all that nodes want is divided fairly.
///
/// Each node keeps its minimum. What is left is divided by max-min: no node has more of it than a
/// node that wants more and does not get it.
struct ClusterShares {
  /// How much of what is left beyond the minima a node gets at most.
  let level: Int64

  /// Divides the goal of a ledger.
  init(_ ledger: ClusterLedger) {
    let summary = LedgerSummary(ledger)
    let any = summary.wishes.first ?? 0
    level = summary.level(dividing: ledger.goal - summary.minima, replacing: any, by: any)
  }

  /// Divides a goal among the nodes of a ledger, of which one says something else by now.
  init(
    _ summary: LedgerSummary, goal: Int64, replacing old: ClusterLedger.Node,
    by new: ClusterLedger.Node
  ) {
    level = summary.level(
      dividing: goal - summary.minima + old.minimum - new.minimum, replacing: old.wish,
      by: new.wish)
  }

  /// What a node is due: its minimum, and its part of the rest.
  func target(_ node: ClusterLedger.Node) -> Int64 {
    node.minimum + min(node.wish, level)
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
    Self.minimum(declaring: declared, of: self.declared, goal: goal)
  }

  /// The same, if all nodes declare so much and so much is to be divided.
  static func minimum(declaring declared: Int64, of all: Int64, goal: Int64) -> Int64 {
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
