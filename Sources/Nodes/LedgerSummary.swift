// SPDX-License-Identifier: Apache-2.0

/// What a node needs of a ledger beside its own entry: computed once per ledger, so that a change
/// which does not concern a node costs it a few searches, whatever number of nodes there is.
package struct LedgerSummary: Sendable {
  /// What all nodes declare.
  let declared: Int64
  /// The sum of all minima.
  let minima: Int64
  /// What each node wants beyond its minimum, in ascending order.
  let wishes: [Int64]
  /// The sum of the wishes before each of them, and of all.
  let sums: [Int64]
  /// The generations of the marks, by node.
  let marks: [String: Int64]

  /// Adds up a ledger.
  package init(_ ledger: ClusterLedger) {
    var (declared, minima): (Int64, Int64) = (0, 0)
    var marks: [String: Int64] = [:]
    var wishes: [Int64] = []
    wishes.reserveCapacity(ledger.nodes.count)
    for (name, node) in ledger.nodes {
      declared += node.declared
      minima += node.minimum
      wishes.append(node.wish)
      if let mark = node.mark { marks[name] = mark.generation }
    }
    wishes.sort()
    var sums: [Int64] = [0]
    sums.reserveCapacity(wishes.count + 1)
    for wish in wishes { sums.append((sums.last ?? 0) + wish) }
    (self.declared, self.minima, self.wishes) = (declared, minima, wishes)
    (self.sums, self.marks) = (sums, marks)
  }

  /// The most that a node gets beyond its minimum, if an amount is divided by max-min.
  ///
  /// - Parameters:
  ///   - left: The amount.
  ///   - old: A wish of the ledger that is replaced.
  ///   - new: What it is replaced by.
  /// - Returns: The most beyond a minimum.
  func level(dividing left: Int64, replacing old: Int64, by new: Int64) -> Int64 {
    let count = wishes.count
    guard count > 0 else { return max(0, left) }
    let removed = min(Self.first(count) { wishes[$0] >= old }, count - 1)
    func rest(_ place: Int) -> Int64 { wishes[place < removed ? place : place + 1] }
    func sumOfRest(_ place: Int) -> Int64 {
      place <= removed ? sums[place] : sums[place + 1] - wishes[removed]
    }
    let inserted = Self.first(count - 1) { rest($0) >= new }
    func wish(_ place: Int) -> Int64 {
      place == inserted ? new : rest(place < inserted ? place : place - 1)
    }
    func sum(_ place: Int) -> Int64 {
      place <= inserted ? sumOfRest(place) : sumOfRest(place - 1) + new
    }
    if sum(count) <= left { return max(0, left) }
    let place = Self.first(count) { wish($0) * Int64(count - $0) >= left - sum($0) }
    return max(0, left - sum(min(place, count - 1))) / Int64(max(1, count - place))
  }

  /// The first of so many places from which on something holds; the number of places if it never does.
  private static func first(_ count: Int, where holds: (Int) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if holds(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension ClusterLedger.Node {
  /// What the node wants beyond its minimum.
  var wish: Int64 { max(0, want - minimum) }
}
