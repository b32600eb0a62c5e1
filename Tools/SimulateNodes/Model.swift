// SPDX-License-Identifier: Apache-2.0
import Application
import Nodes
import Quantities
import VirtualTime

let second: Nanoseconds = 1_000_000_000
let millisecond: Nanoseconds = 1_000_000

/// What a run is made of.
struct NodesScenario {
  var seed: UInt64
  var nodes: Int
  var duration: Nanoseconds
  var resource = SharedResource.cpu
  var rules = NodeRules.all
  /// How much a clock's rate is off at most, in thousandths.
  var clockError: Int64 = 20
  /// How much of it the nodes allow for.
  var clockTolerance: Int64 = 20
  /// Whether the engine is set back to an older state at times.
  var restores = false
  /// Whether something fails at all.
  var isCalm = false
  /// Whether all nodes want more than there is, and something else every few milliseconds.
  var isFluttering = false
  /// Whether containers come that need more than the share of their node holds.
  var hasNewcomers = false

  /// Nothing fails, and all nodes want more than there is for 20 s.
  static func fluttering(_ seed: UInt64, nodes: Int) -> NodesScenario {
    var scenario = NodesScenario(seed: seed, nodes: nodes, duration: 45 * second)
    (scenario.isCalm, scenario.isFluttering) = (true, true)
    return scenario
  }

  /// 3 to 20 nodes, for a minute.
  static func middle(_ seed: UInt64) -> NodesScenario {
    var scenario = small(seed)
    var random = SplitMix(seed: seed ^ 0x0d1e_9011)
    scenario.nodes = Int(random.among(3...20))
    return scenario
  }

  /// 2 to 6 nodes, for a minute.
  static func small(_ seed: UInt64) -> NodesScenario {
    var random = SplitMix(seed: seed ^ 0x0e7c_d5ee)
    var scenario = NodesScenario(
      seed: seed, nodes: Int(random.among(2...6)), duration: 60 * second)
    if random.oneIn(4) { scenario.resource = .memory }
    if random.oneIn(4) { (scenario.clockError, scenario.clockTolerance) = (150, 150) }
    scenario.restores = scenario.resource == .cpu && random.oneIn(4)
    scenario.hasNewcomers = !scenario.restores && seed % 3 == 0
    return scenario
  }
}

/// What must not happen has happened.
struct NodesViolation: Error {
  var time: Nanoseconds
  var text: String
  /// Whether the limit was exceeded, and not only somebody not served.
  var isUnsafe = false
}

/// The engine: one object that is read and swapped linearizably.
struct EngineModel {
  private(set) var object: LedgerSnapshot?
  private var revision = 0
  private(set) var swaps = 0
  /// What it was, newest last.
  private(set) var past: [LedgerSnapshot] = []

  mutating func swap(
    _ ledger: ClusterLedger?, expected: String?
  ) -> SwapOutcome {
    guard expected == object?.version else { return .conflict(object) }
    revision += 1
    swaps += 1
    object = ledger.map { LedgerSnapshot(version: "\(revision)", ledger: $0) }
    if let object {
      past.append(object)
      if past.count > 64 { past.removeFirst(32) }
    }
    return .succeeded(version: "\(revision)")
  }

  /// Somebody restores a backup.
  mutating func restore(_ snapshot: LedgerSnapshot) {
    revision += 1
    object = LedgerSnapshot(version: "\(revision)", ledger: snapshot.ledger)
    past = []
  }
}

/// A container that needs a floor.
struct NewcomerModel {
  var floor: Int64
  var declared: Int64
  /// Until when it waits for a larger share.
  var deadline: Nanoseconds = 0
}

/// The local broker, with all members as one: what it was told, and the sum of the kernel's limits.
struct BrokerModel {
  var kernel: Int64 = 0
  /// What the containers use up to; of memory what is in use.
  var wanted: Int64 = 0
  var used: Int64 = 0
  var declared: Int64
  var explicit: Int64?
  var share: ShareOrder?
  var answers: UInt64 = 0
  var hasExpired = false
  /// A recall that has not been answered yet.
  var isRecalling = false
  var isDown = false
  /// Counts connections: what was sent by an older one is lost.
  var link: UInt64 = 0
  /// What was reported last.
  var told: BrokerReport?
  /// The newcomers that are members, and the one that waits for a larger share.
  var members: [NewcomerModel] = []
  var newcomer: NewcomerModel?

  /// No broker can recall what its members need at the least.
  var floors: Int64 { members.reduce(0) { $0 + $1.floor } }

  /// The most that the sum may be; nothing before the first share.
  var bound: Int64 {
    guard let share else { return 0 }
    return max(floors, hasExpired ? share.minimum : share.limit)
  }

  var report: BrokerReport {
    let coming = members + (newcomer.map { [$0] } ?? [])
    let floors = coming.reduce(0) { $0 + $1.floor }
    return BrokerReport(
      answers: answers, inForce: max(bound, kernel), wanted: max(wanted, floors), used: used,
      declared: coming.reduce(declared) { $0 + $1.declared }, floors: floors, explicit: explicit)
  }
}

/// A node: a clock, an agent and a broker.
struct NodeModel {
  let name: String
  /// The rate of its clock is off by as many millionths.
  let drift: Int64
  let offset: Nanoseconds
  var agent: NodeShare
  /// Counts the agents.
  var incarnation: UInt64 = 0
  var pausedUntil: Nanoseconds = 0
  /// What has come during a pause.
  var waiting: [(incarnation: UInt64, event: NodeEvent)] = []
  var cutUntil: Nanoseconds = 0
  var deafUntil: Nanoseconds = 0
  var broker: BrokerModel
  var nextTick: Nanoseconds?
  /// The connection that the agent has, and those that it has not noticed yet.
  var link: UInt64 = 0
  var links: [UInt64] = []
  /// When the last frame of each direction arrives.
  var toBroker: Nanoseconds = 0
  var toAgent: Nanoseconds = 0
  /// Whether there are containers.
  var isRunning = true

  func clock(_ time: Nanoseconds) -> Nanoseconds { offset + time + time / 1_000_000 * drift }

  /// When the clock will show this, or a moment later.
  func time(_ clock: Nanoseconds) -> Nanoseconds {
    (clock - offset) / (1_000_000 + drift) * 1_000_000 + 1_000_000 + drift.magnitude.signed
  }
}

extension UInt64 {
  fileprivate var signed: Int64 { Int64(self) }
}
