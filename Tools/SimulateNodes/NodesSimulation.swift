// SPDX-License-Identifier: Apache-2.0
import Application
import Nodes
import Quantities
import VirtualTime

/// A run in virtual time: the real ``NodeShare`` of each node, a model of all else.
///
/// Requests are late or lost, and so are answers; links are cut, watches are silent, agents stop or
/// die, brokers are away and recall slowly, clocks run at rates of their own. In the last part
/// nothing fails any more, one node wants all, and then none wants anything.
final class NodesSimulation {
  enum Event {
    /// A request reaches the engine.
    case request(node: Int, incarnation: UInt64, NodeEffect, lostAnswer: Bool)
    /// Something reaches an agent.
    case agent(node: Int, incarnation: UInt64, NodeEvent)
    /// No answer in time.
    case timeout(node: Int, incarnation: UInt64, NodeEvent)
    case tick(node: Int, incarnation: UInt64, at: Nanoseconds)
    case watch(node: Int, LedgerSnapshot)
    case watchAgain(node: Int)
    case resume(node: Int)
    case order(node: Int, link: UInt64, ShareOrder)
    case report(node: Int, link: UInt64, BrokerReport)
    case recalled(node: Int)
    case brokerDeadline(node: Int, number: UInt64)
    case brokerReturns(node: Int)
    case demand(node: Int)
    case flutter(node: Int)
    case newcomer(node: Int)
    case newcomerIsLate(node: Int)
    case begin(node: Int)
    case chaos
    case calm
    case idle
    case rest
    case restore
    case accept
  }

  let scenario: NodesScenario
  private(set) var nodes: [NodeModel] = []
  private var engine = EngineModel()
  private var queue = EventQueue<Event>()
  private var random: SplitMix
  private var newcomers: SplitMix
  private(set) var now: Nanoseconds = 0
  private var goal: Int64
  private(set) var trace: [String]
  private let isTraced: Bool
  private var isCalm: Bool
  private var canRestore: Bool
  private var isResuming = false
  /// Requests sent, in all.
  private(set) var requests = 0
  private var requestsAtRest = 0
  private(set) var events = 0
  /// Swaps until nothing fails any more.
  private(set) var swapsBeforeCalm = 0
  /// The kernel's limits of each node, and their sum.
  private var kernels: [Int64] = []
  private var kernelSum: Int64 = 0
  private var checkedSwaps = 0
  private(set) var notes: [String: Int] = [:]
  private(set) var waits: [Nanoseconds] = []
  private(set) var shortest: [Nanoseconds] = []

  static let limit: Int64 = 1_000_000_000

  init(_ scenario: NodesScenario, traced: Bool = false) {
    self.scenario = scenario
    isTraced = traced
    trace = []
    random = SplitMix(seed: scenario.seed)
    newcomers = SplitMix(seed: scenario.seed ^ 0x1eec_0e25)
    goal = Self.limit
    isCalm = scenario.isCalm
    canRestore = scenario.restores
    // In one of four all declare more than there is.
    let scale: Int64 = random.oneIn(4) && !scenario.restores ? 2 : 1
    for index in 0..<scenario.nodes {
      let declared = random.among(0...scale * Self.limit / Int64(scenario.nodes))
      let error = scenario.clockError * 1000
      nodes.append(
        NodeModel(
          name: "n\(index)",
          drift: random.oneIn(2) ? random.among(-error...error) : random.oneIn(2) ? error : -error,
          offset: random.among(100 * second...100_000 * second), agent: agent(index, nil),
          broker: BrokerModel(declared: declared, explicit: Self.limit)))
      let begin = random.oneIn(4) && !scenario.restores
      queue.push(.begin(node: index), at: begin ? random.time(0...20 * second) : 0)
    }
    kernels = nodes.map(\.broker.kernel)
    for index in nodes.indices {
      let event = scenario.isFluttering ? Event.flutter(node: index) : .demand(node: index)
      queue.push(event, at: random.among(0...3 * second))
    }
    for index in nodes.indices where scenario.hasNewcomers {
      queue.push(.newcomer(node: index), at: newcomers.among(second...5 * second))
    }
    if !isCalm { queue.push(.chaos, at: random.among(0...5 * second)) }
    if canRestore { queue.push(.restore, at: random.among(5 * second...40 * second)) }
  }

  private func agent(_ index: Int, _ seen: (id: String, generation: Int64)?) -> NodeShare {
    var parameters = NodeParameters()
    parameters.validity = 3 * second
    parameters.clockTolerance = scenario.clockTolerance
    parameters.takesFromSilent = scenario.resource == .cpu
    parameters.rules = scenario.rules
    return NodeShare(
      name: "n\(index)", resource: scenario.resource, newID: "id\(random.next() >> 32)",
      seen: seen, parameters: parameters)
  }

  // MARK: the run

  func run() throws(NodesViolation) {
    let end = scenario.duration
    queue.push(.calm, at: end - 25 * second)
    queue.push(.idle, at: end - 8 * second)
    queue.push(.rest, at: end - 2 * second)
    while let (time, event) = queue.pop(), time <= end {
      now = time
      events += 1
      if events > 200_000 * nodes.count { throw violation("there is no end of it: \(event)") }
      if case .idle = event { try checkServed() }
      handle(event)
      try check(event)
    }
    now = end
    try checkRest()
  }

  /// Nothing fails any more, and one node wants everything.
  private func calm() {
    isCalm = true
    swapsBeforeCalm = engine.swaps
    canRestore = false
    for index in nodes.indices {
      (nodes[index].cutUntil, nodes[index].deafUntil) = (0, 0)
      tell(index, nodes[index].incarnation, .changed(nil))
      if !nodes[index].isRunning { begin(index) }
      want(index == 0 ? Self.limit : 0, index)
    }
  }

  private func violation(_ text: String) -> NodesViolation { NodesViolation(time: now, text: text) }

  /// Of an event that concerns one node, only that node's limit can have changed.
  private func sumOfKernels(after event: Event) -> Int64 {
    switch event {
    case .watch(let index, _), .agent(let index, _, _), .timeout(let index, _, _),
      .tick(let index, _, _), .request(let index, _, _, _), .report(let index, _, _),
      .order(let index, _, _), .recalled(let index), .brokerDeadline(let index, _),
      .demand(let index), .flutter(let index), .watchAgain(let index), .newcomer(let index),
      .newcomerIsLate(let index):
      let kernel = nodes[index].broker.kernel
      kernelSum += kernel - kernels[index]
      kernels[index] = kernel
    default:
      for index in nodes.indices { kernels[index] = nodes[index].broker.kernel }
      kernelSum = kernels.reduce(0, +)
    }
    return kernelSum
  }

  private func check(_ event: Event) throws(NodesViolation) {
    let sum = sumOfKernels(after: event)
    let limit = engine.object?.ledger.limit ?? Self.limit
    if sum > limit {
      throw NodesViolation(
        time: now, text: "the limits are \(sum) of \(limit): \(excess), after \(event)",
        isUnsafe: true)
    }
    if checkedSwaps != engine.swaps, let ledger = engine.object?.ledger, !ledger.isValid {
      throw violation("the ledger does not add up: \(ledger)")
    }
    checkedSwaps = engine.swaps
    if scenario.resource == .memory {
      for node in nodes where node.isRunning && node.broker.kernel < node.broker.used {
        throw violation("\(node.name) has less memory than is in use")
      }
    }
  }

  /// The nodes whose limit is more than the ledger says.
  private var excess: String {
    nodes.filter { $0.broker.kernel > engine.object?.ledger.nodes[$0.name]?.held ?? 0 }
      .map { "\($0.name) has \($0.broker.kernel)" }.joined(separator: ", ")
  }

  /// One node wants everything for a long time and nothing fails: it has what the others' minima
  /// leave, and what they have in use.
  private func checkServed() throws(NodesViolation) {
    guard let ledger = engine.object?.ledger else { throw violation("there is no ledger") }
    for node in nodes {
      guard let entry = ledger.nodes[node.name] else { throw violation("\(node.name) is not in") }
      if node.name == "n0" { continue }
      let least = max(entry.minimum, node.broker.used)
      if entry.held > least + least / 4 + 50_000_000 {
        throw violation("\(node.name) holds \(entry.held) and needs \(least)")
      }
    }
    let grain = NodeParameters().grain
    if ledger.free >= grain * 2 { throw violation("\(ledger.free) is free: \(ledger)") }
    if nodes[0].broker.kernel + grain < ledger.nodes["n0"]?.held ?? 0 {
      throw violation("n0 does not use what it holds: \(nodes[0].broker)")
    }
  }

  /// Nobody wants anything: nobody has a timer, and nothing was sent.
  private func checkRest() throws(NodesViolation) {
    if requests != requestsAtRest {
      throw violation("\(requests - requestsAtRest) requests at rest")
    }
    for node in nodes {
      if let deadline = node.agent.deadline {
        throw violation("\(node.name) has a timer at rest, \(deadline - node.clock(now)) ns ahead")
      }
    }
  }

  // MARK: events

  private func handle(_ event: Event) {
    switch event {
    case .request(let index, let incarnation, let effect, let isLost):
      serve(index, incarnation, effect, isLost)
    case .agent(let index, let incarnation, let event),
      .timeout(let index, let incarnation, let event):
      tell(index, incarnation, event)
    case .tick(let index, let incarnation, let moment):
      guard nodes[index].incarnation == incarnation, nodes[index].agent.deadline == moment else {
        return
      }
      nodes[index].nextTick = nil
      tell(index, incarnation, .tick)
    case .watch(let index, let snapshot):
      guard nodes[index].cutUntil <= now, nodes[index].deafUntil <= now else { return }
      tell(index, nodes[index].incarnation, .changed(snapshot))
    case .watchAgain(let index): tell(index, nodes[index].incarnation, .changed(nil))
    case .resume(let index): resume(index)
    case .order(let index, let link, let order): obey(order, link, index)
    case .report(let index, let link, let report):
      guard nodes[index].broker.link == link else { return }
      tell(index, nodes[index].incarnation, .report(report))
    case .recalled(let index):
      nodes[index].broker.isRecalling = false
      let least = scenario.resource == .memory ? nodes[index].broker.used : 0
      let bound = max(nodes[index].broker.bound, least)
      nodes[index].broker.kernel = min(nodes[index].broker.kernel, bound)
      settle(index)
    case .brokerDeadline(let index, let number):
      guard nodes[index].broker.share?.number == number else { return }
      nodes[index].broker.hasExpired = true
      settle(index)
    case .brokerReturns(let index):
      nodes[index].broker.isDown = false
      if nodes[index].isRunning { connect(index) }
      settle(index)
    case .demand(let index):
      queue.push(.demand(node: index), at: now + random.time(50 * millisecond...8 * second))
      if now >= scenario.duration - 25 * second { return }
      want(
        [0, nodes[index].broker.declared, random.among(0...Self.limit), Self.limit]
          .randomElement(using: &random) ?? 0, index)
    case .flutter(let index): flutter(index)
    case .newcomer(let index): newcomer(index)
    case .newcomerIsLate(let index):
      guard nodes[index].broker.newcomer.map({ $0.deadline <= now }) ?? false else { return }
      notes["newcomers refused", default: 0] += 1
      nodes[index].broker.newcomer = nil
      report(index)
    case .begin(let index): begin(index)
    case .chaos: chaos()
    case .calm: calm()
    case .idle: for index in nodes.indices { want(0, index) }
    case .rest: requestsAtRest = requests
    case .restore: restore()
    case .accept:
      if let object = engine.object {
        engine.restore(
          LedgerSnapshot(
            version: "", ledger: object.ledger.next { $0.advance(by: 1_000_000) }))
        publish()
      }
    }
  }

  /// The first node wants about its fair share, and all others more than theirs.
  private func flutter(_ index: Int) {
    if now >= scenario.duration - 25 * second { return }
    let fair = Self.limit / Int64(nodes.count)
    want(
      index == 0
        ? random.among(fair * 8 / 10...fair * 12 / 10) : random.among(fair * 2...fair * 3), index)
    queue.push(.flutter(node: index), at: now + random.among(20 * millisecond...100 * millisecond))
  }

  private func begin(_ index: Int) {
    nodes[index].isRunning = true
    connect(index)
  }

  private func replaceAgent(_ index: Int, remembers: Bool) {
    let seen = remembers ? nodes[index].agent.seen : nil
    nodes[index].agent = agent(index, seen)
    nodes[index].incarnation += 1
    nodes[index].nextTick = nil
    nodes[index].links = []
    // It finds out that there are no containers.
    if !nodes[index].isRunning { tell(index, nodes[index].incarnation, .ended) }
  }

  // MARK: the agent

  private func tell(_ index: Int, _ incarnation: UInt64, _ event: NodeEvent) {
    guard nodes[index].incarnation == incarnation else { return }
    if nodes[index].pausedUntil > now || !nodes[index].waiting.isEmpty && !isResuming {
      if nodes[index].waiting.isEmpty {
        queue.push(.resume(node: index), at: nodes[index].pausedUntil)
      }
      nodes[index].waiting.append((incarnation, event))
      return
    }
    if case .brokerConnected = event {
      nodes[index].link = nodes[index].links.removeFirst()
      if nodes[index].agent.isOver {
        nodes[index].agent = agent(index, nodes[index].agent.seen)
      }
    }
    var effects: [NodeEffect] = []
    let clock = nodes[index].clock(now)
    nodes[index].agent.handle(event, at: clock, &effects)
    if isTraced { say("\(nodes[index].name) \(event)") }
    for effect in effects { perform(effect, index) }
    guard let deadline = nodes[index].agent.deadline, deadline != nodes[index].nextTick else {
      return
    }
    nodes[index].nextTick = deadline
    queue.push(
      .tick(node: index, incarnation: incarnation, at: deadline),
      at: max(now, nodes[index].time(deadline)))
  }

  /// What has come during a pause is dealt with in order.
  private func resume(_ index: Int) {
    if nodes[index].pausedUntil > now {
      return queue.push(.resume(node: index), at: nodes[index].pausedUntil)
    }
    isResuming = true
    for (incarnation, event) in nodes[index].waiting { tell(index, incarnation, event) }
    nodes[index].waiting = []
    isResuming = false
  }

  private func perform(_ effect: NodeEffect, _ index: Int) {
    if isTraced { say("  \(nodes[index].name) -> \(effect)") }
    let incarnation = nodes[index].incarnation
    switch effect {
    case .read(let number):
      send(effect, index, ifSilent: .readFailed(number), incarnation)
    case .swap(let number, _, _):
      send(effect, index, ifSilent: .swapped(number, .doubt), incarnation)
    case .share(let order):
      queue.push(
        .order(node: index, link: nodes[index].link, order),
        at: arrival(&nodes[index].toBroker))
    case .note(let note):
      let name = "\(note)".prefix { $0 != "(" }
      notes[String(name), default: 0] += 1
      if case .gained(_, _, let waited) = note { waits.append(waited) }
    }
  }

  private func send(
    _ effect: NodeEffect, _ index: Int, ifSilent event: NodeEvent, _ incarnation: UInt64
  ) {
    requests += 1
    queue.push(.timeout(node: index, incarnation: incarnation, event), at: now + second / 2)
    if !isCalm, nodes[index].cutUntil > now || random.oneIn(50) { return }
    queue.push(
      .request(
        node: index, incarnation: incarnation, effect, lostAnswer: !isCalm && random.oneIn(50)),
      at: now + delay())
  }

  private func delay() -> Nanoseconds {
    if isCalm || !random.oneIn(10) { return random.among(millisecond...10 * millisecond) }
    return random.oneIn(5)
      ? random.among(second...8 * second) : random.among(10 * millisecond...second)
  }

  // MARK: the engine

  private func serve(_ index: Int, _ incarnation: UInt64, _ effect: NodeEffect, _ isLost: Bool) {
    let answer: NodeEvent
    switch effect {
    case .read(let number): answer = .read(number, engine.object)
    case .swap(let number, let ledger, let expected):
      var outcome = engine.swap(ledger, expected: expected)
      if case .conflict = outcome, random.oneIn(2) { outcome = .conflict(nil) }
      if case .succeeded = outcome {
        publish()
        cutMarked()
      }
      answer = .swapped(number, outcome)
    default: return
    }
    if isTraced, case .swap = effect {
      say("engine: \(engine.object.map { "\($0)" } ?? "nothing")")
    }
    if isLost || nodes[index].cutUntil > now { return }
    queue.push(.agent(node: index, incarnation: incarnation, answer), at: now + delay())
  }

  /// A node is cut off in the moment in which it is suspected, at times.
  private func cutMarked() {
    guard !isCalm, let ledger = engine.object?.ledger else { return }
    for index in nodes.indices
    where ledger.nodes[nodes[index].name]?.mark?.generation == ledger.generation {
      guard random.oneIn(4) else { continue }
      nodes[index].cutUntil = now + random.among(4 * second...9 * second)
      queue.push(.watchAgain(node: index), at: nodes[index].cutUntil)
    }
  }

  private func publish() {
    guard let object = engine.object else { return }
    for index in nodes.indices where nodes[index].isRunning {
      queue.push(
        .watch(node: index, object), at: now + random.among(millisecond...20 * millisecond))
    }
  }

  // MARK: the broker

  private func want(_ amount: Int64, _ index: Int) {
    nodes[index].broker.wanted = amount
    settle(index)
  }

  private func connect(_ index: Int) {
    nodes[index].broker.link += 1
    nodes[index].broker.answers = 0
    nodes[index].broker.told = nil
    nodes[index].links.append(nodes[index].broker.link)
    tell(index, nodes[index].incarnation, .brokerConnected)
    report(index)
  }

  private func obey(_ order: ShareOrder, _ link: UInt64, _ index: Int) {
    guard nodes[index].broker.link == link, !nodes[index].broker.isDown, nodes[index].isRunning
    else { return }
    nodes[index].broker.share = order
    nodes[index].broker.answers = order.number
    nodes[index].broker.hasExpired = false
    if let deadline = order.deadline, scenario.rules.contains(.brokerTimer) {
      let begin = nodes[index].time(deadline - NodeParameters().lead)
      if begin <= now {
        nodes[index].broker.hasExpired = true
      } else {
        queue.push(.brokerDeadline(node: index, number: order.number), at: begin)
      }
    }
    nodes[index].broker.told = nil
    if let newcomer = nodes[index].broker.newcomer { admit(newcomer, index) }
    settle(index)
  }

  /// A container comes that may need more than the share holds; or all that have come end.
  private func newcomer(_ index: Int) {
    queue.push(
      .newcomer(node: index), at: now + newcomers.time(100 * millisecond...6 * second))
    let (isEnd, floor) = (
      newcomers.oneIn(4), newcomers.among(0...Self.limit / Int64(nodes.count))
    )
    let declared = newcomers.among(0...floor * 3 / 2)
    guard now < scenario.duration - 25 * second, nodes[index].isRunning,
      !nodes[index].broker.isDown, nodes[index].broker.share != nil,
      nodes[index].broker.newcomer == nil
    else { return }
    if isEnd {
      nodes[index].broker.members = []
      return settle(index)
    }
    admit(NewcomerModel(floor: floor, declared: declared), index)
    settle(index)
  }

  /// Takes a newcomer in where what the node keeps without a word holds its floor; else it waits.
  private func admit(_ newcomer: NewcomerModel, _ index: Int) {
    let broker = nodes[index].broker
    let most = scenario.rules.contains(.keepsMinima) ? broker.share?.minimum ?? 0 : broker.bound
    guard broker.floors + newcomer.floor <= most else {
      if broker.newcomer == nil {
        nodes[index].broker.newcomer = newcomer
        nodes[index].broker.newcomer?.deadline = now + second
        queue.push(.newcomerIsLate(node: index), at: now + second)
      }
      return
    }
    notes[broker.newcomer == nil ? "newcomers at once" : "newcomers that waited", default: 0] += 1
    nodes[index].broker.members.append(newcomer)
    nodes[index].broker.newcomer = nil
  }

  /// A larger limit is written at once, a smaller one when it was recalled.
  private func settle(_ index: Int) {
    var broker = nodes[index].broker
    guard nodes[index].isRunning else { return }
    let least = scenario.resource == .memory ? broker.used : 0
    if broker.kernel > max(broker.bound, least) {
      if !broker.isRecalling {
        broker.isRecalling = true
        // The deadline's lead is 1.5 s: 1 s for a recall and its fence, and 0.3 s for a broker.
        let time =
          random.oneIn(10)
          ? random.oneIn(2) ? 1190 * millisecond : random.among(millisecond...1190 * millisecond)
          : random.among(millisecond / 10...2 * millisecond)
        queue.push(.recalled(node: index), at: now + time)
      }
    } else if !broker.isDown {
      broker.kernel = max(min(max(broker.wanted, broker.floors), broker.bound), least)
    }
    if scenario.resource == .memory, !broker.isDown {
      // Some of what is wanted is in use, and stays so until less is wanted.
      broker.used = min(broker.kernel, max(min(broker.used, broker.wanted), broker.wanted / 2))
    }
    nodes[index].broker = broker
    report(index)
  }

  private func report(_ index: Int) {
    let broker = nodes[index].broker
    guard !broker.isDown, nodes[index].isRunning, broker.told != broker.report else { return }
    nodes[index].broker.told = broker.report
    queue.push(
      .report(node: index, link: broker.link, broker.report),
      at: arrival(&nodes[index].toAgent))
  }

  /// Frames of a connection come in order.
  private func arrival(_ last: inout Nanoseconds) -> Nanoseconds {
    last = max(last, now + random.among(millisecond / 10...millisecond))
    return last
  }

  // MARK: what fails

  private func chaos() {
    queue.push(.chaos, at: now + random.time(300 * millisecond...6 * second))
    guard !isCalm else { return }
    let index = Int(random.among(0...Int64(nodes.count - 1)))
    switch random.among(0...11) {
    case 0, 1, 2:
      nodes[index].cutUntil = now + random.time(500 * millisecond...12 * second)
      queue.push(.watchAgain(node: index), at: nodes[index].cutUntil)
    case 3, 4:
      let pause = random.time(300 * millisecond...9 * second)
      nodes[index].pausedUntil = max(nodes[index].pausedUntil, now + pause)
    case 5:
      nodes[index].deafUntil = now + random.time(second...20 * second)
      queue.push(.watchAgain(node: index), at: nodes[index].deafUntil)
    case 6, 7:
      replaceAgent(index, remembers: scenario.restores || !random.oneIn(2))
      if nodes[index].isRunning, !nodes[index].broker.isDown { connect(index) }
    case 8, 9:
      guard nodes[index].isRunning, !nodes[index].broker.isDown else { return }
      nodes[index].broker.isDown = true
      nodes[index].broker.newcomer = nil
      nodes[index].broker.link += 1
      tell(index, nodes[index].incarnation, .brokerLost)
      queue.push(
        .brokerReturns(node: index), at: now + random.time(millisecond...300 * millisecond))
    case 10:
      guard !scenario.restores else { return }
      goal = random.among(Self.limit / 2...Self.limit)
      nodes[index].broker.explicit = goal
      report(index)
    default:
      guard !scenario.restores, nodes[index].isRunning, !nodes[index].broker.isDown else { return }
      // The last container ends, and another begins after a while.
      nodes[index].isRunning = false
      nodes[index].broker = BrokerModel(
        declared: nodes[index].broker.declared, explicit: nodes[index].broker.explicit,
        link: nodes[index].broker.link + 1)
      tell(index, nodes[index].incarnation, .ended)
      queue.push(.begin(node: index), at: now + random.time(millisecond...9 * second))
    }
  }

  /// The engine shows an older state, which each node has seen a newer one than: an operator has it
  /// accepted when all are at their minimum.
  private func restore() {
    guard canRestore, !isCalm, let object = engine.object else { return }
    let old = engine.past.first { snapshot in
      // With other minima than those that are kept without a word, no engine could be right again.
      snapshot.ledger.nodes.mapValues(\.minimum) == object.ledger.nodes.mapValues(\.minimum)
        && nodes.allSatisfy { ($0.agent.seen?.generation ?? 0) > snapshot.ledger.generation }
    }
    guard let old, object.ledger.nodes.count == nodes.count else {
      queue.push(.restore, at: now + second)
      return
    }
    canRestore = false
    engine.restore(old)
    publish()
    queue.push(.accept, at: now + 10 * second)
  }

  private func say(_ text: String) {
    trace.append("\(Double(now / 1000) / 1e6) \(text)")
    if trace.count > 4000 { trace.removeFirst(2000) }
  }
}
