// SPDX-License-Identifier: Apache-2.0

/// A cgroup whose limit bounds several members together, such as a pod's.
///
/// It bounds their part of the application, never the application.
package struct MemberGroup: Equatable, Sendable {
  /// The cgroup's inode in the resource's hierarchy.
  package var id: UInt64
  /// What its maker limits it to, in nanocores or bytes.
  package var limit: Int64
  /// Whether the supervisors raise its limit with what their containers hold.
  package var isRaised: Bool

  /// Makes a group from its parts.
  package init(id: UInt64, limit: Int64, isRaised: Bool = false) {
    self.id = id
    self.limit = limit
    self.isRaised = isRaised
  }
}

/// The sums over members that depend on the groups that bound them.
package struct MemberGroups: Sendable {
  /// The sums over the members of one group.
  package struct Sums: Sendable {
    /// The group's limit, in nanocores or bytes.
    package var limit: Int64
    /// Whether the supervisors raise the group's limit.
    package var isRaised: Bool
    var declared: Int64 = 0
    /// What its members could use, or hold if they have no connection.
    var demand: Int64 = 0
    var members = 0
    /// Whether members have a ``Pool/Account/bound`` from it.
    var isBounding = false

    /// Whether its members could use more than its limit.
    var isShort: Bool { !isRaised && demand > limit }
    fileprivate var part: Int64 { min(declared, limit) }
  }

  /// What all members declare: those of a group together no more than its limit.
  ///
  /// A kubelet gives the limit of a pod to each container that declares none.
  private(set) var declared: Int64 = 0
  /// The sums of each group, by the inode of its cgroup.
  package private(set) var byID: [UInt64: Sums] = [:]
  /// Whether something has changed in a group that is short, or was.
  private(set) var areStale = false

  /// Takes note of a group, whose limit is what was reported last.
  mutating func note(_ group: MemberGroup?) {
    guard let group else { return }
    var sums = byID[group.id] ?? Sums(limit: group.limit, isRaised: group.isRaised)
    declared -= sums.part
    (sums.limit, sums.isRaised) = (group.limit, group.isRaised)
    declared += sums.part
    areStale = areStale || sums.isShort || sums.isBounding
    byID[group.id] = sums
  }

  /// Adds a member to the sums, or takes it off them.
  mutating func count(declared amount: Int64, demand: Int64 = 0, in id: UInt64?, _ sign: Int64) {
    guard let id, var sums = byID[id] else {
      declared += sign * amount
      return
    }
    declared -= sums.part
    areStale = areStale || sums.isShort || sums.isBounding
    sums.declared += sign * amount
    sums.demand += sign * demand
    sums.members += Int(sign)
    areStale = areStale || sums.isShort
    declared += sums.part
    byID[id] = sums
  }

  /// Forgets a group without a member.
  mutating func forget(_ id: UInt64?) {
    if let id, byID[id]?.members == 0 { byID[id] = nil }
  }

  /// What some of the members declare.
  func declared(by accounts: [Pool.Account]) -> Int64 {
    var some = MemberGroups()
    for (id, sums) in byID {
      some.note(MemberGroup(id: id, limit: sums.limit, isRaised: sums.isRaised))
    }
    for account in accounts { some.count(declared: account.declared, in: account.group, 1) }
    return some.declared
  }

  /// The groups that are short, or were, in the order of their numbers.
  var bounding: [UInt64] {
    var ids: [UInt64] = []
    for (id, sums) in byID where sums.isShort || sums.isBounding { ids.append(id) }
    return ids.sorted()
  }

  /// The members of all groups have their bounds.
  mutating func settle() {
    for id in bounding {
      let isShort = byID[id]?.isShort == true
      byID[id]?.isBounding = isShort
    }
    areStale = false
  }
}
