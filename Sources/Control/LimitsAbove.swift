// SPDX-License-Identifier: Apache-2.0

/// The limits above a container's own group, of one resource, in nanocores or bytes.
package struct LimitsAbove: Equatable, Sendable {
  /// The inode of the group right above, its pod's if it is in one; 0 for none.
  package var group: UInt64 = 0
  /// What the maker of that group limits it to; nil for no limit.
  package var limit: Int64?
  /// Whether the supervisors raise that limit with what their containers hold.
  package var isRaised = false
  /// The least limit of the groups above that one; nil for none.
  package var beyond: Int64?

  /// No limits.
  package init() {}

  /// The most that the container can use; nil for no limit.
  var most: Int64? {
    isRaised || limit == nil ? beyond : min(limit ?? .max, beyond ?? .max)
  }

  /// The kernel refuses to raise the limit of the group: what it has is all there is.
  package mutating func giveUpRaising(at amount: Int64) {
    (limit, isRaised) = (min(amount, isRaised ? .max : limit ?? .max), false)
  }
}
