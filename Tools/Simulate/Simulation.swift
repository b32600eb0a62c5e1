// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Quantities
internal import VirtualTime

/// An application on a machine that does not exist: containers, supervisors, connections, the
/// kernel's limits and the files that outlive a process, in virtual time.
///
/// The members and the broker are the ones that run beside real containers. Everything around them
/// is as unkind as it may be: any delay, a hang-up that overtakes what was sent before it, death
/// and pause between any two actions.
final class Simulation {
  let scenario: Scenario
  var random: SplitMix
  var now: Nanoseconds = 0
  var queue = EventQueue<WorldEvent>()
  var containers: [Container] = []
  var index: [UInt64: Int] = [:]
  var processes: [Process] = []
  var connections: [Link: Connection] = [:]
  var nextLink: Link = 1
  var nextNonce: UInt64 = 1
  let resource: SharedResource

  // What is in the application's directory.
  var lockHolder: Int?
  var epoch: UInt64 = 0
  var limits = ApplicationLimits()

  /// The pods of the machine, whose limits another process changes.
  var pods: [MemberGroup] = []
  /// A source of its own: what else happens is the same with pods and without.
  var podRandom: SplitMix

  // What is checked.
  var checks = Checks()
  var events = 0
  var isCalm = false
  var trace: [String]?
  var crashRate: Int
  var failure: Violation?

  init(_ scenario: Scenario, traced: Bool = false) {
    self.scenario = scenario
    random = SplitMix(seed: scenario.seed)
    podRandom = SplitMix(seed: scenario.seed ^ 0x90d)
    resource = random.oneIn(4) ? .memory : .cpu
    crashRate = random.oneIn(3) ? .max : Int(random.time(100...20_000))
    if traced { trace = [] }
    if random.oneIn(2) { limits.explicit = random.among(1...Int64(scenario.members)) * second }
    makePods()
    let hasChaos = !random.oneIn(5)
    let many = scenario.members
    for _ in 0..<max(1, many / 2) { queue.push(.create, at: random.time(0...second)) }
    if hasChaos { queue.push(.chaos, at: random.time(millisecond...second)) }
  }

  var parameters: PoolParameters {
    var parameters = PoolParameters()
    parameters.rules = scenario.rules
    return parameters
  }

  func say(_ text: @autoclosure () -> String) {
    guard trace != nil else { return }
    let text = text()
    trace?.append("\(now / microsecond) us  \(text)")
  }

  func fail(_ text: String) {
    if failure == nil { failure = Violation(text: text, event: events, time: now) }
  }

  /// How long nothing goes wrong before everything has to be settled.
  private var patience: Nanoseconds { scenario.members > 1000 ? 20 * second : 4 * second }

  /// Runs to the end.
  func run() throws(Violation) {
    step(until: scenario.duration)
    isCalm = true
    calm()
    step(until: scenario.duration + patience)
    if let failure { throw failure }
    guard events < scenario.mostEvents else { return }
    checkSettled()
    endAllButBroker()
    step(until: scenario.duration + patience + 3 * second)
    checkAlone()
    if let failure { throw failure }
  }

  private func step(until end: Nanoseconds) {
    while failure == nil, events < scenario.mostEvents {
      guard let (time, event) = queue.pop() else { break }
      if time > end {
        queue.push(event, at: time)
        break
      }
      now = time
      events += 1
      handle(event)
      check()
    }
    now = max(now, end)
  }

  // MARK: events

  private func handle(_ event: WorldEvent) {
    switch event {
    case .toBroker(let link): deliverToBroker(link, event)
    case .toMember(let link): deliverToMember(link, event)
    case .brokerSeesEnd(let link):
      guard let connection = connections[link], isAwake(connection.broker, event) else { return }
      // It closes its end, and what was not read is read by nobody.
      connections[link]?.toBroker.removeAll()
      broker(connection.broker, .closed(link))
    case .memberSeesEnd(let link):
      guard let connection = connections[link], isAwake(connection.member, event) else { return }
      memberLost(connection.member, link)
    case .wrote(let process, let value):
      guard isAwake(process, event), processes[process].writing == value else { return }
      finishWrite(process, value)
    case .firstWrite(let nonce): firstWrite(nonce)
    case .memberTimer(let process):
      guard isAwake(process, event) else { return }
      processes[process].timer = .max
      member(process, .tick)
    case .brokerTimer(let process):
      guard isAwake(process, event) else { return }
      processes[process].brokerTimer = .max
      broker(process, .tick)
    case .seek(let process): if isAwake(process, event) { seek(process) }
    case .takeOver(let process): if isAwake(process, event) { takeOver(process) }
    case .kill(let process): crash(process)
    case .examine(let process, let nonce):
      if isAwake(process, event) { examine(process, nonce) }
    case .demand(let nonce): demand(nonce)
    case .respawn(let nonce): respawn(nonce)
    case .forget(let nonce): forget(nonce)
    case .create: create()
    case .period(let nonce): period(nonce)
    case .resized(let nonce): seeResized(nonce, event)
    case .chaos: chaos()
    }
  }

  /// Whether a process can take an event; one that is stopped takes it later.
  func isAwake(_ process: Int, _ event: WorldEvent) -> Bool {
    guard processes[process].isAlive else { return false }
    if processes[process].stoppedUntil > now {
      queue.push(event, at: processes[process].stoppedUntil)
      return false
    }
    return true
  }

  private func deliverToBroker(_ link: Link, _ event: WorldEvent) {
    guard let connection = connections[link], isAwake(connection.broker, event),
      !connection.toBroker.isEmpty
    else { return }
    let item = connections[link]?.toBroker.removeFirst()
    switch item {
    case .message(let message)?: broker(connection.broker, .message(message, on: link))
    case .end?: broker(connection.broker, .closed(link))
    case nil: break
    }
  }

  private func deliverToMember(_ link: Link, _ event: WorldEvent) {
    guard let connection = connections[link], isAwake(connection.member, event),
      !connection.toMember.isEmpty
    else { return }
    let item = connections[link]?.toMember.removeFirst()
    switch item {
    case .message(let message)?: member(connection.member, .message(message, on: link))
    case .end?: memberLost(connection.member, link)
    case nil: break
    }
  }

  func memberLost(_ process: Int, _ link: Link) {
    member(process, .closed(link))
    guard processes[process].isAlive, processes[process].link == link else { return }
    processes[process].link = nil
    queue.push(.seek(process), at: now + random.time(10 * microsecond...5 * millisecond))
  }

  // MARK: processes

  func start(_ container: Int, held: Int64, application: Int64?) {
    containers[container].group = containers[container].pod.map { pods[$0] }
    let own = containers[container]
    let share = own.share
    let claim = ApplicationMessage.Claim(
      held: held, wanted: min(own.declared, share.ceiling), declared: own.declared,
      floor: own.floor, ceiling: share.ceiling, priority: own.priority, application: application,
      group: own.group)
    let process = processes.count
    processes.append(
      Process(
        container: container,
        member: Member(
          nonce: own.nonce, resource: resource, claim: claim, rules: scenario.rules)))
    containers[container].process = process
    say("supervisor \(process) of \(own.nonce) starts, holding \(held)")
    queue.push(.seek(process), at: now + random.time(10 * microsecond...10 * millisecond))
  }

  func crash(_ process: Int) {
    guard processes[process].isAlive else { return }
    let container = processes[process].container
    say("supervisor \(process) of \(containers[container].nonce) dies")
    processes[process].isAlive = false
    containers[container].process = nil
    // The system call was made, or it was not.
    if let value = processes[process].writing, Bool.random(using: &random) {
      write(container, value, by: process)
    }
    leaveNetwork(process)
    let nonce = containers[container].nonce
    if containers[container].hasEnded {
      queue.push(.forget(nonce), at: now + random.time(millisecond...second))
    } else {
      queue.push(.respawn(nonce), at: now + random.time(millisecond...second * 9 / 10))
    }
    reportDeath(nonce)
  }

  private func leaveNetwork(_ process: Int) {
    if lockHolder == process { lockHolder = nil }
    if let link = processes[process].link { end(link, toMember: false) }
    if processes[process].broker != nil {
      // Sorted, so that a run is the same on every machine.
      for link in connections.keys.sorted() where connections[link]?.broker == process {
        end(link, toMember: true)
      }
    }
    processes[process].broker = nil
  }

  func end(_ link: Link, toMember: Bool) {
    if random.oneIn(3) {
      let moment = now + random.time(microsecond...millisecond)
      queue.push(toMember ? .memberSeesEnd(link) : .brokerSeesEnd(link), at: moment)
    } else {
      enqueue(link, .end, toMember: toMember)
    }
  }

  func enqueue(_ link: Link, _ item: Connection.Item, toMember: Bool) {
    guard var connection = connections[link] else { return }
    let isLocal = connection.member == connection.broker
    let delay =
      isLocal ? microsecond : random.time(microsecond...(random.oneIn(50) ? 50 : 1) * millisecond)
    if toMember {
      connection.lastToMember = max(connection.lastToMember, now + delay)
      connection.toMember.append(item)
      queue.push(.toMember(link), at: connection.lastToMember)
    } else {
      connection.lastToBroker = max(connection.lastToBroker, now + delay)
      connection.toBroker.append(item)
      queue.push(.toBroker(link), at: connection.lastToBroker)
    }
    connections[link] = connection
  }

  private func reportDeath(_ nonce: UInt64) {
    guard let holder = lockHolder, processes[holder].watched.contains(nonce) else { return }
    queue.push(
      .examine(holder, nonce), at: now + random.time(10 * microsecond...10 * millisecond))
  }

  private func respawn(_ nonce: UInt64) {
    guard let container = index[nonce], containers[container].process == nil else { return }
    guard !containers[container].hasEnded else { return forget(nonce) }
    let own = containers[container]
    start(container, held: max(own.kernel, own.first ?? 0), application: nil)
  }

  /// The keeper clears away what a container that has ended left.
  private func forget(_ nonce: UInt64) {
    guard let container = index[nonce], containers[container].process == nil else { return }
    containers[container].isRegistered = false
    index[nonce] = nil
    reportDeath(nonce)
  }

  // MARK: finding each other

  private func seek(_ process: Int) {
    guard processes[process].link == nil else { return }
    guard let holder = lockHolder else {
      lockHolder = process
      say("supervisor \(process) has the lock")
      processes[process].seeksSince = nil
      queue.push(.takeOver(process), at: now + random.time(10 * microsecond...5 * millisecond))
      return
    }
    if processes[holder].broker != nil {
      processes[process].seeksSince = nil
      return connect(process, to: holder)
    }
    // Who holds the lock and does not open its door is as silent as who does not answer.
    let since = processes[process].seeksSince ?? now
    processes[process].seeksSince = since
    if now - since > Member.patience, holder != process { crash(holder) }
    queue.push(.seek(process), at: now + random.time(100 * microsecond...20 * millisecond))
  }

  private func connect(_ process: Int, to broker: Int) {
    let link = nextLink
    nextLink += 1
    connections[link] = Connection(member: process, broker: broker)
    processes[process].link = link
    member(process, .connected(link))
  }

  private func takeOver(_ process: Int) {
    guard lockHolder == process else { return }
    epoch += 1
    let registrations = containers.filter { container in
      container.isRegistered
        && !(container.process == process && processes[process].member.held == 0)
    }.map {
      Registration(
        nonce: $0.nonce, declared: $0.declared, floor: $0.floor, ceiling: $0.share.ceiling,
        priority: $0.priority, group: $0.group)
    }
    // The application had ended, and this is the next one.
    if registrations.isEmpty { checks.excess = 0 }
    say("supervisor \(process) is the broker of epoch \(epoch), \(registrations.count) known")
    var actions: [BrokerAction] = []
    let none: (limits: ApplicationLimits, registrations: [Registration]) = (
      ApplicationLimits(), []
    )
    let ours = (limits: limits, registrations: registrations)
    processes[process].broker = Broker(
      epoch: epoch, cpu: resource == .cpu ? ours : none,
      memory: resource == .memory ? ours : none, parameters: parameters, at: now, &actions)
    perform(actions, by: process)
    armBroker(process)
    if processes[process].isAlive, processes[process].link == nil {
      connect(process, to: process)
    }
  }

  private func examine(_ broker: Int, _ nonce: UInt64) {
    guard processes[broker].broker != nil else { return }
    guard let container = index[nonce] else {
      return self.broker(broker, .gone(nonce))
    }
    // Somebody has taken over meanwhile, and is watched from now on.
    guard containers[container].process == nil else { return }
    let own = containers[container]
    if own.hasEnded || (!own.exists && own.first == nil) {
      // Without a cgroup there is nothing to charge; it may come back as a newcomer.
      return self.broker(broker, .gone(nonce))
    }
    let held = max(own.kernel, own.first ?? 0)
    self.broker(
      broker,
      .orphaned(
        nonce, cpu: resource == .cpu ? held : 0, memory: resource == .memory ? held : 0))
  }

  // MARK: the machines

  func member(_ process: Int, _ event: Member.Event) {
    guard processes[process].isAlive else { return }
    var actions: [MemberAction] = []
    processes[process].member.handle(event, at: now, &actions)
    for action in actions {
      if mayCrash(process) { return }
      perform(action, by: process)
      guard processes[process].isAlive else { return }
    }
    if let deadline = processes[process].member.deadline, deadline < processes[process].timer {
      processes[process].timer = deadline
      queue.push(.memberTimer(process), at: deadline)
    }
  }

  private func perform(_ action: MemberAction, by process: Int) {
    let container = processes[process].container
    say("\(containers[container].nonce): \(action)")
    switch action {
    case .send(let message):
      if let link = processes[process].link { enqueue(link, .message(message), toMember: false) }
    case .write(let value):
      guard containers[container].exists else {
        containers[container].first = value
        queue.push(
          .firstWrite(containers[container].nonce),
          at: now + random.time(millisecond...50 * millisecond))
        return
      }
      processes[process].writing = value
      let longest = random.oneIn(20) ? 100 * millisecond : 100 * microsecond
      queue.push(.wrote(process, value), at: now + random.time(microsecond...longest))
    case .fence:
      guard let link = processes[process].link, let connection = connections[link] else { return }
      queue.push(.kill(connection.broker), at: now + random.time(microsecond...millisecond))
    case .refused:
      containers[container].hasEnded = true
      crash(process)
    }
  }

  private func finishWrite(_ process: Int, _ value: Int64) {
    let container = processes[process].container
    processes[process].writing = nil
    let before = containers[container].kernel
    var actual = value
    // What is in use cannot be taken away; what a group above does not have cannot be given.
    if resource == .memory, value < before, random.oneIn(10) { actual = before }
    if resource == .cpu, value > before, random.oneIn(200) { actual = before }
    readUsage(process)
    let spent = spent(process)
    write(container, actual, by: process)
    member(process, .wrote(actual, spent: spent))
  }

  private func firstWrite(_ nonce: UInt64) {
    guard let container = index[nonce], let value = containers[container].first,
      !containers[container].hasEnded
    else { return }
    containers[container].first = nil
    containers[container].exists = true
    write(container, value)
    queue.push(.demand(nonce), at: now + random.time(millisecond...second))
    if scenario.countsUse { queue.push(.period(nonce), at: now + random.among(0...period)) }
    guard let process = containers[container].process else { return }
    member(process, .wrote(value, spent: 0))
  }

  func broker(_ process: Int, _ event: Broker.Event) {
    guard processes[process].isAlive, processes[process].broker != nil else { return }
    var actions: [BrokerAction] = []
    let before = scenario.members <= 100 || events % 1000 == 0 ? pool(of: process) : nil
    processes[process].broker?.handle(event, at: now, &actions)
    say("broker \(process): \(event)")
    if before != nil { checkGroups(pool(of: process)) }
    checkGrants(actions, by: process, before: before)
    perform(actions, by: process)
    armBroker(process)
  }

  private func armBroker(_ process: Int) {
    guard let deadline = processes[process].broker?.deadline,
      deadline < processes[process].brokerTimer
    else { return }
    processes[process].brokerTimer = deadline
    queue.push(.brokerTimer(process), at: max(deadline, now))
  }

  private func perform(_ actions: [BrokerAction], by process: Int) {
    for action in actions {
      if mayCrash(process) { return }
      say("broker \(process): \(action)")
      switch action {
      case .send(let message, let link): enqueue(link, .message(message), toMember: true)
      case .watch(let nonce):
        processes[process].watched.insert(nonce)
        let isAlive = index[nonce].map { containers[$0].process != nil } ?? false
        if !isAlive {
          queue.push(
            .examine(process, nonce), at: now + random.time(10 * microsecond...10 * millisecond))
        }
      case .fence(let nonce):
        if let container = index[nonce], let other = containers[container].process {
          crash(other)
        }
      case .limits(let resource, let limits):
        guard resource == self.resource else { break }
        self.limits = limits
      }
      guard processes[process].isAlive else { return }
    }
  }

  private func mayCrash(_ process: Int) -> Bool {
    guard !isCalm, crashRate < .max, random.oneIn(crashRate) else { return false }
    crash(process)
    return true
  }
}
