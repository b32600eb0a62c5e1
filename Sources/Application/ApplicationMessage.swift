// SPDX-License-Identifier: Apache-2.0

/// What the members of an application share; each is a pool of its own, with the same rules.
package enum SharedResource: UInt8, CaseIterable, Sendable {
  /// Nanocores.
  case cpu = 1
  /// Bytes.
  case memory = 2
}

/// What a member and the broker of its application say to each other: a frame of 96 bytes over
/// SOCK_SEQPACKET, described byte by byte in docs/protocol.md.
///
/// Amounts are nanocores or bytes, by the resource. Numbers grow by one with each frame of a
/// connection and a resource, in each direction; a limit is never a difference, so that what was
/// lost or overtaken changes nothing that was settled since.
package struct ApplicationMessage: Equatable, Sendable {
  /// Which pool it is about.
  package var resource: SharedResource
  /// The broker's, who counts up from the one before; 0 from a member that was not welcomed yet.
  package var epoch: UInt64
  /// The member's instance: never a container's id, which is back within a moment.
  package var nonce: UInt64
  /// The sender's number of this frame.
  package var sequence: UInt64 = 0
  /// The last frame of the other side that the sender has dealt with.
  package var acknowledged: UInt64 = 0
  /// What is said.
  package var body: Body

  /// What is said.
  package enum Body: Equatable, Sendable {
    /// Member: take me in. Answered by `welcome` or `refuse`.
    case join(Claim)
    /// Member: I could use more. Answered at once by `grant`, whether there is more or not.
    case grow(Holding)
    /// Member: I hold this much from now on. The answer to `recall`, too.
    case giveBack(Holding)
    /// Member: its container has ended, and holds nothing.
    case leave
    /// From any process: how are you? Answered by `figures`.
    case status
    /// The operator: the application's limit shall be this. Answered by `figures` when it is in
    /// force, or when what is missing could not be recalled in time.
    case set(Int64)
    /// The node's agent: the application's limit on this node is bounded by this. Answered by
    /// `demand`, and again whenever that changes.
    case share(Share)
    /// The node's agent, when it has connected: tell me the demand from now on. Answered by `demand`.
    case attend
    /// Broker: a member from now on, and this much may be written.
    case welcome(limit: Int64)
    /// Broker: this much may be written from now on.
    case grant(limit: Int64)
    /// Broker: no more than this may be written from now on; say so when it is.
    case recall(limit: Int64)
    /// Broker: no.
    case refuse(Refusal, figure: Int64)
    /// Broker: what there is.
    case figures(Figures)
    /// Broker: what the node's agent has to know; `acknowledged` is the number of the last `share`
    /// that was dealt with.
    case demand(Demand)
  }

  /// The part of a cluster-scoped application's limit that this node has.
  package struct Share: Equatable, Sendable {
    /// The most that the sum of the members' limits may be until the deadline.
    package var limit: Int64
    /// The most that it may be after the deadline.
    package var minimum: Int64
    /// When the sum must be at most the minimum, on CLOCK_BOOTTIME in nanoseconds; nil: the limit
    /// stays.
    package var deadline: Int64?

    /// Makes a share from its parts.
    package init(limit: Int64, minimum: Int64, deadline: Int64?) {
      self.limit = limit
      self.minimum = minimum
      self.deadline = deadline
    }
  }

  /// What the members of this node have and could use.
  package struct Demand: Equatable, Sendable {
    /// What the sum of the members' limits does not exceed.
    package var inForce: Int64
    /// What the members could use.
    package var wanted: Int64
    /// What they have in use, of memory; 0 of CPU.
    package var used: Int64
    /// What they declare.
    package var declared: Int64
    /// The sum of their floors.
    package var floors: Int64
    /// The application's limit by annotation or operator; nil where neither has said one.
    package var explicit: Int64?

    /// Makes a demand from its parts.
    package init(
      inForce: Int64, wanted: Int64, used: Int64, declared: Int64, floors: Int64,
      explicit: Int64?
    ) {
      self.inForce = inForce
      self.wanted = wanted
      self.used = used
      self.declared = declared
      self.floors = floors
      self.explicit = explicit
    }
  }

  /// What a member brings along and may come to.
  package struct Claim: Equatable, Sendable {
    /// The most that its kernel limit is, or may still become without another word from here.
    package var held: Int64
    /// What it could use.
    package var wanted: Int64
    /// What it adds to the application's limit where no annotation says what that is.
    package var declared: Int64
    /// What it must not fall below.
    package var floor: Int64
    /// What it must not exceed.
    package var ceiling: Int64
    /// Who is served first beyond the fair share: the higher.
    package var priority: Int32
    /// The application's limit by annotation, from a newcomer; nil where it has none to say.
    package var application: Int64?
    /// Whether ``application`` has to be what the application's limit is already, if it has one.
    package var isNoChange = false
    /// The cgroup that bounds it together with others: not in the frame, but in the member's file,
    /// where the broker reads it.
    package var group: MemberGroup?

    /// Makes a claim from its parts.
    package init(
      held: Int64, wanted: Int64, declared: Int64, floor: Int64, ceiling: Int64,
      priority: Int32 = 0, application: Int64? = nil, isNoChange: Bool = false,
      group: MemberGroup? = nil
    ) {
      self.held = held
      self.wanted = wanted
      self.declared = declared
      self.floor = floor
      self.ceiling = ceiling
      self.priority = priority
      self.application = application
      self.isNoChange = isNoChange
      self.group = group
    }
  }

  /// What a member holds and could use.
  package struct Holding: Equatable, Sendable {
    /// The most that its kernel limit is.
    package var held: Int64
    /// What it could use.
    package var wanted: Int64
    /// What it used in the period that is on, as a limit; of memory what is in use.
    ///
    /// Of what it gives back, that part has been used, and no other member may have it in the same
    /// period.
    package var spent: Int64

    /// Makes a holding from its parts.
    package init(held: Int64, wanted: Int64, spent: Int64 = 0) {
      self.held = held
      self.wanted = wanted
      self.spent = spent
    }
  }

  /// Why not.
  package enum Refusal: UInt8, CaseIterable, Sendable {
    /// Nothing in common: the figure is the sender's version.
    case version = 1
    /// The least that all members need is more than there is: the figure is what is left.
    case minima = 2
    /// No frame of this protocol.
    case nonsense = 3
    /// The application's limit is another one, and the newcomer must not change it: the figure is
    /// that limit.
    case conflict = 4
  }

  /// What there is of a pool.
  package struct Figures: Equatable, Sendable {
    /// The limit that is wanted.
    package var limit: Int64
    /// The limit that is kept at this moment.
    package var inForce: Int64
    /// What members may write, in all.
    package var charged: Int64
    /// Members.
    package var members: Int64
    /// Members that could use more.
    package var waiting: Int64

    /// Makes figures from their parts.
    package init(limit: Int64, inForce: Int64, charged: Int64, members: Int64, waiting: Int64) {
      self.limit = limit
      self.inForce = inForce
      self.charged = charged
      self.members = members
      self.waiting = waiting
    }
  }

  /// Makes a message from its parts.
  package init(
    resource: SharedResource, epoch: UInt64, nonce: UInt64, sequence: UInt64 = 0,
    acknowledged: UInt64 = 0, body: Body
  ) {
    self.resource = resource
    self.epoch = epoch
    self.nonce = nonce
    self.sequence = sequence
    self.acknowledged = acknowledged
    self.body = body
  }

  /// The greatest amount: sums of ten thousands of them are numbers.
  package static let most: Int64 = 1 << 48 - 1
}
