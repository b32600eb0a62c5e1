// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Control
internal import Quantities
internal import VirtualTime

/// What containers, operators and bad luck do.
extension Simulation {
  var period: Nanoseconds { 100 * millisecond }

  /// A core, or as much memory.
  private var unit: Int64 { resource == .cpu ? 1_000_000_000 : 1 << 30 }

  func create() {
    guard containers.lazy.filter({ $0.isRegistered }).count < scenario.members || isLarge else {
      return
    }
    let declared = random.among(1...20) * unit / 10
    var container = Container(
      nonce: nextNonce, declared: declared, floor: unit / 20,
      ceiling: random.oneIn(3) ? declared : 64 * unit,
      priority: random.oneIn(3) ? Int32(random.among(-2...2)) : 0,
      application: !isCalm && random.oneIn(20) ? explicitLimit() : nil,
      hunger: random.oneIn(3) ? random.among(0...8) : 8)
    nextNonce += 1
    container.enter(pods, &podRandom)
    // Its place is another's who has ended; nothing else of it is.
    let place = containers.firstIndex { !$0.isRegistered && $0.process == nil && !isLarge }
    if let place { containers[place] = container } else { containers.append(container) }
    index[container.nonce] = place ?? containers.count - 1
    start(
      place ?? containers.count - 1, held: 0, application: container.application)
  }

  private var isLarge: Bool { scenario.members > 1000 }

  private func explicitLimit() -> Int64 {
    random.among(1...Int64(scenario.members) * 2) * unit / 2
  }

  func demand(_ nonce: UInt64) {
    guard let container = index[nonce], !containers[container].hasEnded else { return }
    if let process = containers[container].process, processes[process].stoppedUntil <= now {
      let own = containers[container]
      let wanted: Int64 =
        switch random.among(0...5) {
        case 0: own.floor
        case 1: own.share.ceiling
        case 2: own.declared
        default: random.among(own.floor...max(own.floor, min(own.ceiling, 4 * unit)))
        }
      member(process, .want(wanted))
    }
    if !isCalm {
      let longest = isLarge ? 10 * second : second
      queue.push(.demand(nonce), at: now + random.time(millisecond...longest))
    }
  }

  func end(container: Int) {
    guard !containers[container].hasEnded else { return }
    say("container \(containers[container].nonce) ends")
    let nonce = containers[container].nonce
    containers[container].hasEnded = true
    checks.kernelSum -= containers[container].kernel
    containers[container].kernel = 0
    containers[container].exists = false
    guard let process = containers[container].process else {
      queue.push(.forget(nonce), at: now + random.time(millisecond...second))
      return
    }
    processes[process].stoppedUntil = 0
    member(process, .ended)
    if processes[process].isAlive { crash(process) }
  }

  func chaos() {
    if isCalm { return }
    queue.push(.chaos, at: now + random.time(millisecond...second / 2))
    if !pods.isEmpty, podRandom.oneIn(3) { resizePod() }
    let some = Int.random(in: 0..<max(1, containers.count), using: &random)
    let process = containers.isEmpty ? nil : containers[some].process
    switch random.among(0...11) {
    case 0, 1: if let process { crash(process) }
    case 2: if let lockHolder { crash(lockHolder) }
    case 3, 4:
      if let process {
        processes[process].stoppedUntil = now + random.time(millisecond...3 * second)
      }
    case 5:
      if let lockHolder {
        processes[lockHolder].stoppedUntil = now + random.time(millisecond...3 * second)
      }
    case 6, 7: if !containers.isEmpty { end(container: some) }
    case 8: setLimit()
    default: create()
    }
  }

  /// The operator speaks to the broker by a connection of its own.
  private func setLimit() {
    guard let lockHolder, processes[lockHolder].broker != nil,
      processes[lockHolder].stoppedUntil <= now
    else { return }
    let link = nextLink
    nextLink += 1
    broker(
      lockHolder,
      .message(
        ApplicationMessage(
          resource: resource, epoch: 0, nonce: 0, body: .set(explicitLimit())), on: link))
  }

  /// From now on nobody dies, stops or changes its mind.
  func calm() {
    for process in processes.indices where processes[process].stoppedUntil > now {
      processes[process].stoppedUntil = now
    }
  }

  func endAllButBroker() {
    guard let lockHolder else { return }
    for container in containers.indices where containers[container].process != lockHolder {
      end(container: container)
    }
  }

  // MARK: pods

  /// None in half of all runs.
  func makePods() {
    guard podRandom.oneIn(2) else { return }
    for number in 1...podRandom.among(1...4) {
      pods.append(
        MemberGroup(
          id: UInt64(number), limit: podRandom.among(1...40) * unit / 10,
          isRaised: podRandom.oneIn(4)))
    }
  }

  /// A kubelet changes the limit of a pod; each supervisor in it sees that when it does.
  private func resizePod() {
    let pod = Int(podRandom.among(0...Int64(pods.count - 1)))
    pods[pod].limit = podRandom.among(1...40) * unit / 10
    // The kernel may refuse to have it raised.
    if podRandom.oneIn(8) { pods[pod].isRaised.toggle() }
    say("pod \(pod) is \(pods[pod])")
    for container in containers where container.pod == pod && container.isRegistered {
      let delay = podRandom.time(10 * microsecond...300 * millisecond)
      queue.push(.resized(container.nonce), at: now + delay)
    }
  }

  /// It joins again with what the pod has by now.
  func seeResized(_ nonce: UInt64, _ event: WorldEvent) {
    guard let container = index[nonce], let process = containers[container].process,
      isAwake(process, event), let pod = containers[container].pod,
      containers[container].group != pods[pod]
    else { return }
    containers[container].group = pods[pod]
    say("\(nonce) sees \(pods[pod])")
    processes[process].member.redeclare(containers[container].share)
    guard let link = processes[process].link else { return }
    end(link, toMember: false)
    memberLost(process, link)
  }

  // MARK: the kernel

  /// A write of a limit, by a supervisor or by the low-level runtime.
  func write(_ container: Int, _ value: Int64, by process: Int? = nil) {
    // ENODEV: the cgroup is gone.
    guard containers[container].exists else { return }
    checks.kernelSum += value - containers[container].kernel
    containers[container].kernel = value
    checkCharge(container)
    guard scenario.countsUse, resource == .cpu else { return }
    guard let process, scenario.rules.contains(.keepsBooks) else {
      containers[container].quota = time(value)
      return use(container)
    }
    readUsage(process)
    processes[process].books?.hold(time(value))
    writeHeld(process)
  }

  /// What is held becomes the quota, as far as the books allow.
  private func writeHeld(_ process: Int) {
    let container = processes[process].container
    guard let books = processes[process].books,
      let quota = books.write(over: containers[container].quota, at: now).quota
    else { return }
    containers[container].quota = quota
    use(container)
  }

  func period(_ nonce: UInt64) {
    guard let container = index[nonce], containers[container].exists else { return }
    containers[container].used = 0
    if let process = containers[container].process, processes[process].stoppedUntil <= now,
      scenario.rules.contains(.keepsBooks)
    {
      readUsage(process)
      if containers[container].quota < time(containers[container].kernel) { writeHeld(process) }
    }
    use(container)
    queue.push(.period(nonce), at: now + period)
  }

  /// What a supervisor knows of its container's use.
  func readUsage(_ process: Int) {
    let own = containers[processes[process].container]
    if processes[process].books == nil {
      processes[process].books = MemberBooks(
        held: time(own.kernel), period: period, now: now, usage: own.usage)
    }
    processes[process].books?.charge(usage: own.usage, at: now)
  }

  /// A refill: the container uses all that it has a mind to, whatever it has used before.
  private func use(_ container: Int) {
    guard scenario.countsUse, resource == .cpu, containers[container].exists else { return }
    let used = containers[container].quota / 8 * containers[container].hunger
    containers[container].used += used
    containers[container].usage += used
    checks.use(used, limit: time(limits.inForce), period: period, at: now)
  }

  /// Nanocores as CPU time a period.
  private func time(_ cores: Int64) -> Nanoseconds { cores / (second / period) }

  /// What a container has used and its application may not hand on, as a limit.
  func spent(_ process: Int) -> Int64 {
    let own = containers[processes[process].container]
    return max(min(own.used, own.quota), processes[process].books?.excess ?? 0) * (second / period)
  }
}

extension Container {
  /// It is in one of the pods, or in none; some declare all that the pod has.
  mutating func enter(_ pods: [MemberGroup], _ random: inout SplitMix) {
    guard !pods.isEmpty, !random.oneIn(3) else { return }
    let pod = Int(random.among(0...Int64(pods.count - 1)))
    self.pod = pod
    if random.oneIn(2) { declared = pods[pod].limit }
  }
}
