// SPDX-License-Identifier: Apache-2.0

/// Between what a container's limit of one resource may move.
package struct Bounds<Limit: Comparable & Sendable>: Equatable, Sendable {
  /// The least that the limit is lowered to; never above ``ceiling``.
  package let floor: Limit
  /// The most that the limit is raised to.
  package let ceiling: Limit
  /// What config.json says; nil where it declares no limit.
  package let declared: Limit?

  /// Makes bounds; a floor above the ceiling becomes the ceiling.
  package init(floor: Limit, ceiling: Limit, declared: Limit?) {
    self.floor = min(floor, ceiling)
    self.ceiling = ceiling
    self.declared = declared
  }

  /// The limit within these bounds that is nearest to `limit`.
  package func clamp(_ limit: Limit) -> Limit { max(floor, min(limit, ceiling)) }
}

/// What annotations ask of one resource.
struct BoundsRequest<Limit: Comparable & Sendable & CustomStringConvertible> {
  var application: Asked<Limit>?
  var min: Asked<Limit>?
  var max: Asked<Limit>?

  var isEmpty: Bool { application == nil && min == nil && max == nil }

  /// What bounds the answer, whatever is asked for.
  struct Frame {
    /// What config.json declares.
    let declared: Limit?
    /// What the node has.
    let node: Limit
    /// The operator's floor for a container that asks for none.
    let floor: Limit
    /// The operator's ceiling and the name of its key.
    let ceiling: (key: String, limit: Limit?)
    /// Whether the container shares the application's limit with others, whose declared limits
    /// add to its own.
    let isMember: Bool
  }

  /// Weighs the request: ceiling is the container's max, else the application's limit, else what
  /// is declared, else the node; never above the application's, the operator's or the node.
  ///
  /// - Throws: ``PolicyError/above(key:value:bound:limit:)`` for what contradicts itself.
  func resolve(_ frame: Frame) throws(PolicyError) -> Bounds<Limit> {
    if let limit = frame.ceiling.limit {
      let bound = "the operator's \(frame.ceiling.key)"
      for asked in [application, max, min] {
        try asked?.check(atMost: limit, called: bound, shown: limit.description)
      }
    }
    for bound in [max, application].compactMap({ $0 }) {
      try min?.check(atMost: bound.value, called: escaped(bound.key), shown: quoted(bound.text))
    }
    if max == nil && application == nil && !frame.isMember, let declared = frame.declared {
      try min?.check(
        atMost: declared, called: "the container's own limit", shown: declared.description)
    }
    try min?.check(
      atMost: frame.node, called: "what this node has", shown: frame.node.description)
    var ceiling = max?.value ?? application?.value ?? frame.declared ?? frame.node
    for other in [application?.value, frame.ceiling.limit, frame.node] {
      if let other { ceiling = Swift.min(ceiling, other) }
    }
    return Bounds(
      floor: min?.value ?? frame.floor, ceiling: ceiling, declared: frame.declared)
  }
}

extension Asked where Value: Comparable {
  fileprivate func check(
    atMost limit: Value, called bound: String, shown: String
  ) throws(PolicyError) {
    if value > limit { throw .above(key: key, value: text, bound: bound, limit: shown) }
  }
}
