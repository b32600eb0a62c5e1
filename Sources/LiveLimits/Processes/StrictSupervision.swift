// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The loop of a strict container's supervisor: keeps everybody else off its CPUs.
///
/// It hears of every group that is made and every set that is written in the cpuset hierarchy, and
/// then makes the tree what it has to be. While nothing of that happens it sleeps.
final class StrictSupervision {
  private var directory: StateDirectory
  private var state: ContainerState
  private let fence: CPUFence
  private let container: StrictContainer
  private var record: Record
  private var counters: CounterFile
  private var counted = CPUController.Counters()

  private let poller: Poller
  private var timer: DeadlineTimer
  private var conversations: Conversations

  private var nextSettling: Nanoseconds?
  private var lastSettling: Nanoseconds = .min / 2
  private var lastCorrection: Nanoseconds = .min / 2
  private var failures = 0
  private var hasEnded = false
  /// An update of memory that is on its way.
  private var updating: OpenUpdate?

  /// A new container's first events come in bursts; they are answered together.
  private static let settlingDelay: Nanoseconds = 2_000_000
  /// The shortest time between two looks at the whole tree, whatever others write there.
  private static let settlingInterval: Nanoseconds = 20_000_000
  /// The time between two looks at groups that no inotify had room for.
  private static let poll: Nanoseconds = 50_000_000
  /// The shortest time between two corrections of somebody else's writes.
  private static let correctionInterval: Nanoseconds = 1_000_000_000

  private enum Token {
    static let exit: UInt64 = 1
    static let timer: UInt64 = 2
    static let tree: UInt64 = 3
    static let listener: UInt64 = 4
    static let members: UInt64 = 5
    static let outer: UInt64 = 6
  }

  /// Takes over a container that was found.
  init(
    directory: consuming StateDirectory, fence: CPUFence, container: StrictContainer,
    listener: consuming FileDescriptor
  ) throws(SystemError) {
    state = container.state
    self.fence = fence
    self.container = container
    poller = try Poller()
    timer = try DeadlineTimer()
    record = try Record(in: directory.descriptor)
    counters = try CounterFile(in: directory.descriptor)
    conversations = Conversations(listener: listener)
    self.directory = directory
    // One inotify for all: their number is small (fs.inotify.max_user_instances).
    try fence.watch.addWrites(to: container.quota.quotaFile)
    if container.quota.outerFile.isOpen {
      try fence.watch.addWrites(to: container.quota.outerFile)
    }
    try container.memory?.add(to: poller)
    container.memory?.isAlone = true
    try container.watchExit(poller, token: Token.exit)
    try poller.add(timer.descriptor.number, token: Token.timer)
    try fence.watch.add(to: poller, token: Token.tree)
    try container.outer?.watch.add(to: poller, token: Token.outer)
    try poller.addListener(conversations.listener.number, token: Token.listener)
  }

  /// Supervises until the container has ended, then lets the others back.
  func run() throws(SystemError) {
    append(rule: .start, before: heldTime, after: heldTime)
    if let memory = container.memory { record.append(memory.opening()) }
    counters.note(counted)
    container.outer?.weights.carry()
    settle()
    if container.hasLostInit { checkMembers() }
    while !hasEnded {
      let next = min(nextSettling ?? .max, container.memory?.deadline ?? .max)
      try timer.set(next == .max ? nil : next)
      var tokens: [UInt64] = []
      try poller.wait { tokens.append($0) }
      for token in tokens where !hasEnded { handle(token) }
    }
    try fence.release(directory)
  }

  private func handle(_ token: UInt64) {
    switch token {
    case Token.exit:
      container.unwatchExit(poller)
      checkMembers()
    case Token.members: checkMembers()
    case Token.timer:
      timer.acknowledge()
      let now = monotonicNow()
      if let moment = container.memory?.deadline, moment <= now { lookAtMemory() }
      guard let moment = nextSettling, moment <= now else { return }
      nextSettling = nil
      checkMembers()
      if !hasEnded { settle() }
    case MemorySupervision.Token.use, MemorySupervision.Token.outOfMemory:
      if let memory = container.memory { note(memory.hear(token)) }
    case Token.tree:
      // At once: the rest can wait for whatever belongs to it.
      container.leaveBrokenPartition()
      fence.watch.drain()
      settle(at: max(monotonicNow() + Self.settlingDelay, lastSettling + Self.settlingInterval))
    case Token.outer:
      guard let outer = container.outer, outer.watch.take({ _ in }) else { return }
      outer.weights.carry()
      lookAtMemory()
    case Token.listener: conversations.accept(poller)
    default:
      _ = conversations.hear(token, poller) { answer($0, from: token) }
      // Killed without a word: its update is dropped.
      if updating?.owner == token, !conversations.contains(token) { settleUpdate(isTaken: false) }
    }
  }

  // MARK: memory

  private func lookAtMemory() {
    if let memory = container.memory { note(memory.look()) }
  }

  private func note(_ entries: [RecordEntry]) {
    for entry in entries {
      record.append(entry)
      counted.count(entry)
    }
    counters.note(counted)
    guard let memory = container.memory, memory.isBaseChanged else { return }
    memory.isBaseChanged = false
    saveMemory(memory.base)
  }

  /// An update changes the state as well, under the registry's lock.
  private func saveMemory(_ base: MemoryBase) {
    guard let registry = try? CPURegistry(locking: fence.root) else { return }
    try? takeOverUpdate()
    state.memory = base
    try? directory.save(state)
    _ = registry
  }

  private func answer(_ message: ControlMessage, from token: UInt64) -> ControlMessage? {
    switch message {
    case .updateMemory(let limit, let swap):
      let now = monotonicNow()
      if let open = updating, open.excludes(token, at: now) { return .updating }
      let applied: (limit: Int64?, swap: Int64?) =
        container.memory?.applied(limit: limit, swap: swap) ?? (nil, nil)
      var open = OpenUpdate(owner: token, start: now)
      open.update.add(memory: limit, swap: swap)
      do throws(SystemError) { try note(open.update) } catch {
        return .notNoted(errno: error.errno)
      }
      updating = open
      container.memory?.isUpdating = true
      return .applyMemory(limit: applied.limit, swap: applied.swap)
    case .updateEnded(let isTaken):
      if updating?.owner ?? token == token { settleUpdate(isTaken: isTaken) }
      return .updateSettled
    default: return nil
    }
  }

  private func note(_ update: PendingUpdate) throws(SystemError) {
    let registry = try CPURegistry(locking: fence.root)
    try takeOverUpdate()
    try directory.note(update)
    state.update = directory.load()?.update
    _ = registry
  }

  /// Ends the update of memory that is on its way.
  private func settleUpdate(isTaken: Bool) {
    note(container.memory?.endUpdate() ?? [])
    guard let update = updating?.update ?? state.update else { return }
    updating = nil
    if isTaken, let memory = container.memory {
      note(memory.update(limit: update.memory, swap: update.swap))
    }
    guard let registry = try? CPURegistry(locking: fence.root) else { return }
    try? takeOverUpdate()
    state.update = update
    state.settleUpdate(isTaken: isTaken)
    if let memory = container.memory { state.memory = memory.base }
    try? directory.save(state)
    _ = registry
  }

  private func settle(at moment: Nanoseconds) { nextSettling = min(nextSettling ?? .max, moment) }

  // MARK: CPUs

  private func settle() {
    lastSettling = monotonicNow()
    do throws(SystemError) {
      let registry = try CPURegistry(locking: fence.root)
      try takeOverUpdate()
      try judgeOwnSet(registry)
      removeQuota()
      try fence.settle(registry)
      try noteSource()
      failures = 0
    } catch {
      report(error)
    }
    if !fence.hearsOfAll { settle(at: monotonicNow() + Self.poll) }
  }

  /// Says in the state whether it is a partition now.
  private func noteSource() throws(SystemError) {
    let source = container.source
    if source == state.source { return }
    state.source = source
    try directory.save(state)
  }

  /// What could not be done is tried again, ever less often; the log says so once.
  private func report(_ error: SystemError) {
    if failures == 3 {
      escra_syslog(
        true, "escra: others may run on the CPUs of strict container \(state.id): \(error)")
    }
    failures = min(failures + 1, 10)
    settle(at: monotonicNow() + 1_000_000 << Nanoseconds(failures))
  }

  /// Somebody has removed our instance: the CPUs are held all the same, so it is made again.
  ///
  /// The connections of the old one are of no use any more; the next call of the runtime starts a
  /// keeper, which finds the new one.
  private func reinstate() throws(SystemError) {
    let instance = try StateDirectory.create(in: fence.root, root: state.root, id: state.id)
    try instance.save(state)
    let listener = try ControlSocket.listen(
      on: StateDirectory.socketName, in: instance.descriptor)
    try poller.addListener(listener.number, token: Token.listener)
    conversations = Conversations(listener: listener)
    record = try Record(in: instance.descriptor)
    counters = try CounterFile(in: instance.descriptor)
    counters.note(counted)
    directory = instance
  }

  /// An update changes the state, under the registry's lock; a file that is torn is written again.
  private func takeOverUpdate() throws(SystemError) {
    if !directory.isThere { try reinstate() }
    guard let written = directory.load(), written.claim != nil else {
      return try directory.save(state)
    }
    let before = heldTime
    let isChanged = written.claim?.held != state.claim?.held
    state = written
    if isChanged { append(rule: .update, before: before, after: heldTime) }
  }

  /// Sees to it that the container's own group has what the container holds.
  ///
  /// Somebody may have written a set that was not agreed on: it is taken where it can be had, and
  /// else written over.
  private func judgeOwnSet(_ registry: borrowing CPURegistry) throws(SystemError) {
    guard let claim = state.claim, let found = container.cpus() else { return checkMembers() }
    if found == claim.held { return }
    let others = registry.holders(except: state)
    // What it holds already it may have less of, whatever has become of the way there.
    if found.isSubset(of: claim.held) && !found.isEmpty
      || (try? registry.grant(
        CPUReservation(set: found), group: claim.group, reserved: CPUSet(), memory: nil,
        holders: others, current: claim.held)) != nil
    {
      return try hold(found, rule: .news)
    }
    let now = monotonicNow()
    if now < lastCorrection + Self.correctionInterval {
      return settle(at: lastCorrection + Self.correctionInterval)
    }
    lastCorrection = now
    try container.setCPUs(claim.held)
    append(rule: .drift, before: Self.time(of: found), after: heldTime)
  }

  private func hold(_ cpus: CPUSet, rule: Rule) throws(SystemError) {
    let before = heldTime
    state.claim?.held = cpus
    state.claim?.asked = CPUReservation(set: cpus)
    try directory.save(state)
    append(rule: rule, before: before, after: heldTime)
  }

  /// A quota would bring back the throttling that a strict container has bought itself out of.
  private func removeQuota() {
    guard let own = try? container.quota.current() else { return }
    let none = CPUQuota(quota: nil, period: own.period)
    guard let found = try? container.quota.current(besides: none), found.quota != nil else {
      return
    }
    try? container.quota.set(none, from: own)
  }

  // MARK: the end

  private func checkMembers() {
    // First the watch, then the look: a process that ends in between is heard.
    let isWatched =
      container.hasLostInit && container.watchMembers(poller, token: Token.members)
    hasEnded = container.hasEnded
    // Processes may outlive their init; cgroup v1 does not tell of the last one's end.
    if container.hasLostInit && !hasEnded && !isWatched {
      settle(at: monotonicNow() + 1_000_000_000)
    }
  }

  // MARK: the record

  /// The record counts in time a period, and a CPU of one's own is all of it.
  private static let period: Nanoseconds = 100_000_000

  private static func time(of cpus: CPUSet) -> Nanoseconds { Nanoseconds(cpus.count) * period }

  private var heldTime: Nanoseconds { Self.time(of: state.claim?.held ?? CPUSet()) }

  private func append(rule: Rule, before: Nanoseconds, after: Nanoseconds) {
    record.append(
      RecordEntry(
        time: wallClockNow(), rule: rule, applied: true, before: before, after: after, use: 0,
        period: Self.period))
  }
}
