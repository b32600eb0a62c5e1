// SPDX-License-Identifier: Apache-2.0

/// The ledger of one resource of an application whose containers run on several nodes.
///
/// An engine keeps it as one object, which nodes replace by compare-and-swap. In every revision
/// ``free`` and the sum of what nodes hold are ``limit``. Each transition below conserves that.
package struct ClusterLedger: Equatable, Sendable {
  /// What the ledger says of one node.
  package struct Node: Equatable, Sendable {
    /// The most that the limit of the application may be on this node.
    package var held: Int64
    /// The part of ``held`` that the node keeps without a word from the engine.
    package var minimum: Int64
    /// What the members on this node declare.
    package var declared: Int64
    /// What the members on this node could use.
    package var want: Int64
    /// A node that needs more suspects that this one is silent.
    package var mark: Mark?

    /// Makes a node from its parts.
    package init(
      held: Int64, minimum: Int64, declared: Int64, want: Int64 = 0, mark: Mark? = nil
    ) {
      self.held = held
      self.minimum = minimum
      self.declared = declared
      self.want = want
      self.mark = mark
    }
  }

  /// The suspicion that a node is silent; the node removes it by a swap of its own.
  package struct Mark: Equatable, Sendable {
    /// The node that made the mark.
    package var by: String
    /// The ledger's generation with this mark: no second mark has the same one.
    package var generation: Int64

    /// Makes a mark.
    package init(by: String, generation: Int64) {
      self.by = by
      self.generation = generation
    }
  }

  /// Made at random with the ledger; another ledger of the same name has another one.
  package let id: String
  /// Counts the swaps: a ledger restored from a backup has a smaller one.
  package internal(set) var generation: Int64
  /// The limit in force: what all nodes together may hold.
  package internal(set) var limit: Int64
  /// The limit that an annotation or the operator asks for; nil: the sum of what nodes declare.
  package internal(set) var explicit: Int64?
  /// What no node holds.
  package internal(set) var free: Int64
  /// The nodes by name.
  package internal(set) var nodes: [String: Node]

  /// Makes a ledger without nodes.
  ///
  /// - Parameters:
  ///   - id: At random, 1 to 64 characters of ``isName(_:)``.
  ///   - explicit: The limit that was asked for; nil: the sum of what nodes declare.
  package init(id: String, explicit: Int64?) {
    self.id = id
    self.explicit = explicit
    generation = 0
    limit = explicit ?? 0
    free = limit
    nodes = [:]
  }

  init(
    id: String, generation: Int64, limit: Int64, explicit: Int64?, free: Int64,
    nodes: [String: Node]
  ) {
    self.id = id
    self.generation = generation
    self.limit = limit
    self.explicit = explicit
    self.free = free
    self.nodes = nodes
  }

  /// The limit that the ledger approaches.
  package var goal: Int64 { explicit ?? declared }

  /// What all nodes declare.
  package var declared: Int64 { nodes.values.reduce(0) { $0 + $1.declared } }

  /// Whether `free` and what nodes hold are the limit, and every amount is possible.
  package var isValid: Bool {
    let amounts: ClosedRange<Int64> = 0...Self.most
    guard amounts.contains(limit), amounts.contains(free), amounts.contains(explicit ?? 0),
      generation >= 0, nodes.count <= Self.mostNodes, Self.isName(id), id.utf8.count <= 64
    else { return false }
    var sum = free
    for (name, node) in nodes {
      guard Self.isName(name), amounts.contains(node.held), amounts.contains(node.want),
        amounts.contains(node.declared), (0...node.held).contains(node.minimum)
      else { return false }
      if let mark = node.mark {
        guard Self.isName(mark.by), (0...generation).contains(mark.generation) else {
          return false
        }
      }
      sum += node.held
    }
    return sum == limit
  }

  /// The greatest amount, as in the frames of an application.
  package static let most: Int64 = 1 << 48 - 1
  /// The most nodes that a ledger has.
  package static let mostNodes = 4096

  /// Whether a text names a node, as DNS and Kubernetes name one: 1 to 253 letters, digits, `-`, `_`
  /// and `.`.
  package static func isName(_ text: String) -> Bool {
    guard (1...253).contains(text.utf8.count) else { return false }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "."):
        true
      default: false
      }
    }
  }
}

/// The transitions: each is one swap, and conserves `free + held = limit`.
extension ClusterLedger {
  /// The ledger that replaces this one, after a change.
  package func next(_ change: (inout ClusterLedger) -> Void) -> ClusterLedger {
    var ledger = self
    ledger.generation += 1
    change(&ledger)
    ledger.approachGoal()
    return ledger
  }

  /// Makes a ledger that was restored from a backup newer than what nodes have seen: for an operator,
  /// after every node has come down to its minimum.
  package mutating func advance(by generations: Int64) { generation += max(0, generations) }

  /// Makes `free` the difference between limit and goal, as far as it goes.
  private mutating func approachGoal() {
    let goal = min(goal, Self.most)
    if goal > limit {
      free += goal - limit
      limit = goal
    } else {
      let burnt = min(free, limit - goal)
      free -= burnt
      limit -= burnt
    }
  }

  /// Another limit is asked for; nil: the sum of what nodes declare.
  package mutating func ask(limit: Int64?) { explicit = limit.map { min(max($0, 0), Self.most) } }

  /// Adds a node that holds nothing yet.
  package mutating func join(_ name: String, declared: Int64) {
    guard nodes[name] == nil, nodes.count < Self.mostNodes else { return }
    nodes[name] = Node(held: 0, minimum: 0, declared: declared)
    // What it declares may be there to be taken at once.
    approachGoal()
  }

  /// Removes a node; what it held is free.
  package mutating func leave(_ name: String) {
    guard let node = nodes.removeValue(forKey: name) else { return }
    free += node.held
  }

  /// A node declares something else.
  package mutating func declare(_ declared: Int64, for name: String) {
    nodes[name]?.declared = declared
    approachGoal()
  }

  /// A node could use this much.
  package mutating func want(_ want: Int64, for name: String) { nodes[name]?.want = want }

  /// A node takes from what is free.
  package mutating func take(_ amount: Int64, for name: String) {
    let taken = min(max(amount, 0), free)
    guard nodes[name] != nil else { return }
    nodes[name]?.held += taken
    free -= taken
  }

  /// A node that has lowered its limit releases what it no longer holds.
  package mutating func give(_ amount: Int64, of name: String) {
    guard let node = nodes[name] else { return }
    let given = min(max(amount, 0), node.held)
    nodes[name]?.held -= given
    nodes[name]?.minimum = min(node.minimum, node.held - given)
    free += given
  }

  /// The part that a node keeps without a word from the engine.
  package mutating func keep(minimum: Int64, for name: String) {
    guard let node = nodes[name] else { return }
    nodes[name]?.minimum = min(max(minimum, 0), node.held)
  }

  /// Marks a node that seems to be silent; `next` has set the generation.
  package mutating func mark(_ name: String, by marker: String) {
    nodes[name]?.mark = Mark(by: marker, generation: generation)
  }

  /// A node is not silent.
  package mutating func clearMark(of name: String) { nodes[name]?.mark = nil }

  /// Takes from a silent node what it holds above its minimum.
  ///
  /// It wants no more than that until it says so again, and no part is kept for it.
  package mutating func takeFromSilent(_ name: String) {
    guard let node = nodes[name] else { return }
    give(node.held - node.minimum, of: name)
    nodes[name]?.want = min(node.want, node.minimum)
    nodes[name]?.mark = nil
  }
}
