// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// A ledger as an engine has it: the version is the engine's own, and only compared for equality.
package struct LedgerSnapshot: Equatable, Sendable {
  /// etcd's `mod_revision`, Kubernetes' `resourceVersion`.
  package let version: String
  /// The ledger.
  package let ledger: ClusterLedger
  /// What is needed of it again and again.
  let summary: LedgerSummary

  /// Makes a snapshot.
  package init(version: String, ledger: ClusterLedger) {
    self.version = version
    self.ledger = ledger
    summary = LedgerSummary(ledger)
  }

  /// Compares all but what follows from the ledger.
  package static func == (a: LedgerSnapshot, b: LedgerSnapshot) -> Bool {
    a.version == b.version && a.ledger == b.ledger
  }
}

/// How a swap ended.
package enum SwapOutcome: Equatable, Sendable {
  /// The ledger is what was sent, and has this version.
  case succeeded(version: String)
  /// The version was another one: nothing has happened, and nothing will.
  ///
  /// The snapshot is what the engine had instead, if it said so; read after the swap was sent.
  case conflict(LedgerSnapshot?)
  /// No answer in time, or an unclear one: the swap may have happened, or happen later.
  case doubt
}

/// What the local broker says of its application, in the frame `demand`.
package struct BrokerReport: Equatable, Sendable {
  /// The number of the last ``ShareOrder`` that the broker had dealt with.
  package var answers: UInt64
  /// What the sum of the members' limits does not exceed.
  package var inForce: Int64
  /// What the members could use.
  package var wanted: Int64
  /// What they have in use, of memory; 0 of CPU.
  package var used: Int64
  /// What they declare.
  package var declared: Int64
  /// The sum of their floors: no smaller share can be in force.
  ///
  /// Newcomers that wait for a larger share are counted here, and in what is wanted and declared.
  package var floors: Int64
  /// The application's limit by annotation or operator, if there is one.
  package var explicit: Int64?

  /// Makes a report from its parts.
  package init(
    answers: UInt64, inForce: Int64, wanted: Int64, used: Int64, declared: Int64, floors: Int64,
    explicit: Int64?
  ) {
    self.answers = answers
    self.inForce = inForce
    self.wanted = wanted
    self.used = used
    self.declared = declared
    self.floors = floors
    self.explicit = explicit
  }
}

/// The share of a node: what the local broker is told in the frame `share`.
package struct ShareOrder: Equatable, Sendable {
  /// Counts up from 1 with each order of a ``NodeShare``.
  package var number: UInt64
  /// The most that the sum of the members' limits may be until the deadline.
  package var limit: Int64
  /// The most that it may be after the deadline.
  package var minimum: Int64
  /// When the sum must be at most the minimum, on CLOCK_BOOTTIME; nil: the limit stays.
  package var deadline: Nanoseconds?

  /// Makes an order from its parts.
  package init(number: UInt64, limit: Int64, minimum: Int64, deadline: Nanoseconds?) {
    self.number = number
    self.limit = limit
    self.minimum = minimum
    self.deadline = deadline
  }
}

/// What happens to a ``NodeShare``.
package enum NodeEvent: Equatable, Sendable {
  /// The answer to ``NodeEffect/read(_:)``: a linearizable read; nil: there is no ledger.
  case read(UInt64, LedgerSnapshot?)
  /// A read was not answered in time, or by an error.
  case readFailed(UInt64)
  /// The answer to ``NodeEffect/swap(_:_:expected:)``, or that there is none.
  case swapped(UInt64, SwapOutcome)
  /// The watch says that the ledger has changed; and what it is now, if it says so.
  ///
  /// A watch that has begun anew, or has lost its place, says so without a snapshot.
  case changed(LedgerSnapshot?)
  /// The connection to a local broker is open: it has been told nothing yet.
  case brokerConnected
  /// What the local broker says.
  case report(BrokerReport)
  /// The connection to the local broker has closed.
  case brokerLost
  /// The last member on this node has ended.
  case ended
  /// ``NodeShare/deadline`` has come.
  case tick
}

/// What a ``NodeShare`` wants done, in this order.
package enum NodeEffect: Equatable, Sendable {
  /// Read the ledger linearizably.
  case read(UInt64)
  /// Replace the ledger if it has the expected version; nil: if there is none.
  ///
  /// The ledger nil deletes it.
  case swap(UInt64, ClusterLedger?, expected: String?)
  /// Tell the local broker.
  case share(ShareOrder)
  /// Something that an operator may want to know has happened.
  case note(NodeNote)
}

/// What an operator may want to know of the share of a node.
package enum NodeNote: Equatable, Sendable {
  /// The node has joined the ledger.
  case joined(held: Int64)
  /// The node holds more: from what was free, or given by another node.
  case gained(Int64, held: Int64, waited: Nanoseconds)
  /// The node holds less, because another needs it or it does not.
  case gave(Int64, held: Int64)
  /// The engine has not answered in time: the minimum holds.
  case expired(minimum: Int64)
  /// The engine answers again.
  case renewed(held: Int64)
  /// The node has marked another as silent.
  case marked(String)
  /// The node has taken what a silent node held above its minimum.
  case took(Int64, from: String)
  /// Others have taken what this node held above its minimum.
  case lost(Int64, held: Int64)
  /// A swap that another node has won.
  case conflict
  /// A swap whose outcome is not known.
  case doubt
  /// The engine shows a ledger that is older than one already seen, and is not believed.
  case refused(generation: Int64, seen: Int64)
  /// The node has left the ledger.
  case left
}

/// The rules without which something breaks: the simulator leaves one out and sees it break.
package struct NodeRules: OptionSet, Sendable {
  /// The bits.
  package let rawValue: UInt16
  /// Makes a set of its bits.
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The limit in force is lowered before the ledger says that the node holds less.
  package static let lowersFirst = Self(rawValue: 1)
  /// The ledger says that the node holds more before the limit in force is raised.
  package static let takesFirst = Self(rawValue: 2)
  /// What is held above the minimum has a deadline.
  package static let expires = Self(rawValue: 4)
  /// A silent node is marked before its share is taken.
  package static let marks = Self(rawValue: 8)
  /// A node that finds itself marked removes the mark before it uses its share any longer.
  package static let clearsBeforeUse = Self(rawValue: 16)
  /// After a swap whose outcome is not known, nothing is raised before it cannot happen any more.
  package static let fencesDoubt = Self(rawValue: 32)
  /// The local broker keeps the deadline by itself.
  package static let brokerTimer = Self(rawValue: 64)
  /// Clocks may run at different rates: one waits for longer than the other may hold.
  package static let waitsLonger = Self(rawValue: 128)
  /// Validity counts from before the request was sent.
  package static let fromBeforeSending = Self(rawValue: 256)
  /// A ledger older than one already seen is refused.
  package static let refusesOlder = Self(rawValue: 512)

  /// What a node keeps without a word holds the floors of its members.
  package static let keepsMinima = Self(rawValue: 1024)

  /// All of them.
  package static let all = Self(rawValue: 2047)
}

/// The constants of a ``NodeShare``.
package struct NodeParameters: Sendable {
  /// For how long what is held above the minimum may be used after the engine was asked.
  package var validity: Nanoseconds = 6_000_000_000
  /// How much the rate of a node's clock may differ from that of real time, in thousandths.
  ///
  /// adjtimex(2) slews by 0.5 thousandths at most.
  package var clockTolerance: Int64 = 20
  /// Less than this is not worth a swap, unless it is all that is missing.
  package var grain: Int64 = 10_000_000
  /// What is not needed is released after as long, or at once if another node needs it.
  package var linger: Nanoseconds = 1_000_000_000
  /// A node that waits in vain for as long suspects those that hold more than their fair share.
  package var patience: Nanoseconds = 1_000_000_000
  /// The broker begins to recall as long before the deadline: a recall, a fence and a respawn.
  package var lead: Nanoseconds = 1_500_000_000
  /// After a failure the next request is sent after as long.
  package var backOff: Nanoseconds = 100_000_000
  /// Whether the minimum is the sum of the members' floors, and not what they declare: more is shared,
  /// and less is kept if the engine does not answer.
  package var keepsFloors = false
  /// Whether what a silent node holds may be taken: not of memory, which may be in use there.
  package var takesFromSilent = true
  /// The rules that hold.
  package var rules: NodeRules = .all

  /// The defaults.
  package init() {}
}
