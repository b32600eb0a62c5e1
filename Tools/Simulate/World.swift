// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Control
internal import Quantities

let microsecond: Nanoseconds = 1000
let millisecond: Nanoseconds = 1_000_000
let second: Nanoseconds = 1_000_000_000

/// One run's conditions; everything random in it comes from the seed.
struct Scenario {
  var seed: UInt64
  /// Containers at once, at the most.
  var members: Int
  /// Virtual time in which things go wrong; some seconds in which nothing does follow.
  var duration: Nanoseconds
  /// Stops after so many events, to find the shortest run that fails.
  var mostEvents = Int.max
  var rules: ApplicationRules = .all
  /// Whether CPU time is used, and its bound checked.
  var countsUse = true
}

/// What was broken.
struct Violation: Error {
  var text: String
  var event: Int
  var time: Nanoseconds
}

/// A container, its cgroup and its file in `members/`: what outlives a supervisor.
struct Container {
  var nonce: UInt64
  var declared: Int64
  var floor: Int64
  var ceiling: Int64
  var priority: Int32
  var application: Int64?
  /// Which pod it is in, and what its supervisor knows of that one.
  var pod: Int?
  var group: MemberGroup?
  /// Its file in `members/` is there.
  var isRegistered = true
  /// Its cgroup is there.
  var exists = false
  /// The limit that the kernel keeps.
  var kernel: Int64 = 0
  /// What the low-level runtime will write, whoever lives or dies.
  var first: Int64?
  var hasEnded = false
  /// Its supervisor.
  var process: Int?
  /// Of every period it uses as much of its limit, in eighths.
  var hunger: Int64 = 8
  /// Used in the period that is on, and ever, in nanoseconds of CPU time.
  var used: Int64 = 0
  var usage: Nanoseconds = 0
  /// What it may use in a period, in nanoseconds: its limit, or less for what was used before.
  var quota: Nanoseconds = 0
}

extension Container {
  /// What its file says of it, but for what it holds.
  var share: MemberRecord.Share {
    let most = group.map { $0.isRaised ? .max : max(floor, $0.limit) } ?? .max
    var share = MemberRecord.Share(
      declared: declared, floor: floor, ceiling: min(ceiling, most))
    share.group = group
    return share
  }
}

/// A supervisor.
struct Process {
  var container: Int
  var member: Member
  var isAlive = true
  var stoppedUntil: Nanoseconds = 0
  var link: Link?
  /// The write that is on its way into the kernel.
  var writing: Int64?
  /// What its container has used above what it held, as far as it has seen.
  var books: MemberBooks?
  var broker: Broker?
  var watched: Set<UInt64> = []
  var timer: Nanoseconds = .max
  var brokerTimer: Nanoseconds = .max
  /// Since when it has looked for a broker in vain.
  var seeksSince: Nanoseconds?
}

/// A connection: two queues, each in order, and each as slow as it likes.
struct Connection {
  enum Item {
    case message(ApplicationMessage)
    case end
  }
  var member: Int
  var broker: Int
  var toBroker: [Item] = []
  var toMember: [Item] = []
  var lastToBroker: Nanoseconds = 0
  var lastToMember: Nanoseconds = 0
}

enum WorldEvent {
  case toBroker(Link)
  case toMember(Link)
  /// A hang-up that was seen before what had been sent earlier.
  case brokerSeesEnd(Link)
  case memberSeesEnd(Link)
  case wrote(Int, Int64)
  case firstWrite(UInt64)
  case memberTimer(Int)
  case brokerTimer(Int)
  case seek(Int)
  case takeOver(Int)
  case kill(Int)
  case examine(Int, UInt64)
  case demand(UInt64)
  case respawn(UInt64)
  case forget(UInt64)
  case create
  case period(UInt64)
  /// The supervisor sees that the pod has another limit.
  case resized(UInt64)
  case chaos
}
