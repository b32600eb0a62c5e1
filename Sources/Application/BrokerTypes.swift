// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// A connection, by a number that is used once.
package typealias Link = UInt64

/// What a broker wants done, in this order.
package enum BrokerAction: Equatable, Sendable {
  /// Send this there.
  case send(ApplicationMessage, to: Link)
  /// Find out whether this member's supervisor lives; when it is dead, read what the kernel's
  /// limit is, or may still become, and report ``Broker/orphaned``; or ``Broker/gone``.
  case watch(UInt64)
  /// Kill this member's supervisor, which has been silent for too long. It is a fence: from its
  /// death on it writes nothing.
  case fence(UInt64)
  /// Keep these limits where the next broker finds them.
  case limits(SharedResource, ApplicationLimits)
}

/// What an application may use of a resource.
package struct ApplicationLimits: Equatable, Sendable {
  /// What an annotation or the operator said; nil: the sum of what the members declare.
  package var explicit: Int64?
  /// What an annotation said last: the same value again is no change.
  package var annotated: Int64?
  /// What the sum of the members' limits does not exceed at this moment.
  package var inForce: Int64
  /// The part of a cluster-scoped application that this node has, as its agent said last.
  package var share: ApplicationMessage.Share?
  /// Until when, on CLOCK_BOOTTIME, a cluster-scoped application waits for the first share.
  package var awaitsShareUntil: Nanoseconds?

  /// The most that a member may be granted, also while less is being recalled.
  package var most: Int64 { max(explicit ?? 0, inForce) }

  /// Makes limits from what the operator set, what the annotations ask for, and what is in force.
  package init(
    explicit: Int64? = nil, annotated: Int64? = nil, inForce: Int64 = 0,
    share: ApplicationMessage.Share? = nil, awaitsShareUntil: Nanoseconds? = nil
  ) {
    self.explicit = explicit
    self.annotated = annotated
    self.inForce = inForce
    self.share = share
    self.awaitsShareUntil = awaitsShareUntil
  }
}

/// What a file in `members/` says of a member.
package struct Registration: Equatable, Sendable {
  /// The container's instance.
  package var nonce: UInt64
  /// What its container declares.
  package var declared: Int64
  /// The least that it may be left with.
  package var floor: Int64
  /// The most that the member may be given.
  package var ceiling: Int64
  /// Its priority in a shortage.
  package var priority: Int32
  /// Whether it has been granted nothing that it knows of.
  package var isNewcomer: Bool
  /// The cgroup that bounds it together with others.
  package var group: MemberGroup?

  /// Makes a registration from its parts.
  package init(
    nonce: UInt64, declared: Int64, floor: Int64, ceiling: Int64, priority: Int32 = 0,
    isNewcomer: Bool = false, group: MemberGroup? = nil
  ) {
    self.nonce = nonce
    self.declared = declared
    self.floor = floor
    self.ceiling = ceiling
    self.priority = priority
    self.isNewcomer = isNewcomer
    self.group = group
  }
}

/// The rules without which something breaks: tests leave one out and see it break.
package struct ApplicationRules: OptionSet, Sendable {
  /// The rules, one bit each.
  package let rawValue: UInt16
  /// Makes one of its parts.
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Member: the limit is lowered first, and given back then.
  package static let lowersFirst = Self(rawValue: 1)
  /// Both: what came by another connection, or from another epoch, is not listened to.
  package static let checksEpochs = Self(rawValue: 2)
  /// Broker: nothing goes up before every registered member is known.
  package static let awaitsRegistered = Self(rawValue: 4)
  /// Broker: what a lost member holds is its own until the kernel was asked.
  package static let keepsOrphans = Self(rawValue: 8)
  /// Broker: a statement counts only if the last grant was known to who made it.
  package static let checksAcknowledgements = Self(rawValue: 16)
  /// Broker: a smaller limit is in force when the rest was recalled.
  package static let recallsBeforeForce = Self(rawValue: 32)
  /// Broker: what has been used in a period is not granted again in it.
  package static let restsSpent = Self(rawValue: 64)
  /// Broker: who is below the fair share is served first.
  package static let servesPoorFirst = Self(rawValue: 128)
  /// Member: a new broker is told what may still be written.
  package static let claimsWrites = Self(rawValue: 256)

  /// Member's supervisor: what was used above what is held is kept back from the next write.
  package static let keepsBooks = Self(rawValue: 512)

  /// All rules are in force: what the product runs with.
  package static let all = Self(rawValue: 1023)
}

/// The constants of a pool.
package struct PoolParameters: Sendable {
  /// For how long what was used rests before somebody else has it: a CFS period, and 0 where use
  /// is no flow, as with memory.
  package var rest: Nanoseconds = 100_000_000
  /// Less than this is not worth a message and a write, unless it is all that is missing.
  package var grain: Int64 = 10_000_000
  /// A recall that was not answered for as long is answered by the fence.
  package var recallTime: Nanoseconds = 1_000_000_000
  /// A registered member that lives and has not come back for as long is fenced.
  package var rejoinTime: Nanoseconds = 500_000_000
  /// Who could not give back is not asked again for as long.
  package var backOff: Nanoseconds = 100_000_000
  /// The recall begins as long before a share's deadline: for the recall itself, the fence of a
  /// silent member, and a supervisor that is started again.
  package var shareLead: Nanoseconds = 1_500_000_000
  /// A cluster-scoped application has only its members' floors for as long, and then, if no agent
  /// has said anything, what they declare.
  package var shareGrace: Nanoseconds = 2_000_000_000
  /// A newcomer that needs more than the share holds waits for as long for the agent to bring it.
  package var shareWait: Nanoseconds = 1_000_000_000
  /// The rules in force; the simulator leaves one out.
  package var rules: ApplicationRules = .all

  /// The parameters of the product.
  package init() {}
}
