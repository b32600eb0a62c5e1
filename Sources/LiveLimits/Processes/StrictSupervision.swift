// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// The loop of a strict container's supervisor: keeps everybody else off its CPUs.
///
/// It hears of every group that is made and every set that is written in the cpuset hierarchy, and
/// then makes the tree what it has to be. While nothing of that happens it sleeps.
final class StrictSupervision {
  private let directory: StateDirectory
  private var state: ContainerState
  private let fence: CPUFence
  private let container: StrictContainer
  private var record: Record

  private let poller: Poller
  private var timer: DeadlineTimer
  private let conversations: Conversations

  private var nextSettling: Nanoseconds?
  private var lastCorrection: Nanoseconds = .min / 2
  private var hasEnded = false

  /// A new container's first events come in bursts; they are answered together.
  private static let settlingDelay: Nanoseconds = 2_000_000
  /// The shortest time between two corrections of somebody else's writes.
  private static let correctionInterval: Nanoseconds = 1_000_000_000

  private enum Token {
    static let exit: UInt64 = 1
    static let timer: UInt64 = 2
    static let tree: UInt64 = 3
    static let quota: UInt64 = 4
    static let listener: UInt64 = 5
  }

  /// Takes over a container that was found.
  init(
    directory: consuming StateDirectory, state: ContainerState, fence: CPUFence,
    container: StrictContainer, listener: consuming FileDescriptor
  ) throws(SystemError) {
    self.state = state
    self.fence = fence
    self.container = container
    poller = try Poller()
    timer = try DeadlineTimer()
    record = try Record(in: directory.descriptor)
    conversations = Conversations(listener: listener)
    self.directory = directory
    try poller.add(container.initProcess.descriptor.number, token: Token.exit)
    try poller.add(timer.descriptor.number, token: Token.timer)
    try poller.add(fence.watch.descriptor.number, token: Token.tree)
    try poller.add(container.quotaWatch.descriptor.number, token: Token.quota)
    try poller.add(conversations.listener.number, token: Token.listener)
  }

  /// Supervises until the container has ended, then lets the others back.
  func run() throws(SystemError) {
    append(rule: .start, before: heldTime, after: heldTime)
    removeQuota()
    nextSettling = monotonicNow()
    while !hasEnded {
      try timer.set(nextSettling)
      var tokens: [UInt64] = []
      try poller.wait { tokens.append($0) }
      for token in tokens where !hasEnded { handle(token) }
    }
    try fence.release(directory)
  }

  private func handle(_ token: UInt64) {
    switch token {
    case Token.exit:
      poller.remove(container.initProcess.descriptor.number)
      checkMembers()
    case Token.timer:
      timer.acknowledge()
      nextSettling = nil
      checkMembers()
      if !hasEnded { settle() }
    case Token.tree:
      fence.watch.drain()
      settle(in: Self.settlingDelay)
    case Token.quota:
      container.quotaWatch.drain()
      removeQuota()
    case Token.listener: conversations.accept(poller)
    default:
      // An update has begun, or the keeper is there: the state file says which.
      if conversations.hear(token) != nil { settle(in: 0) }
    }
  }

  private func settle(in delay: Nanoseconds) {
    nextSettling = min(nextSettling ?? .max, monotonicNow() + delay)
  }

  // MARK: CPUs

  private func settle() {
    do throws(SystemError) {
      let registry = try CPURegistry(locking: fence.root, within: 0)
      try takeOverUpdate()
      try judgeOwnSet(registry)
      try fence.settle(registry)
    } catch {
      settle(in: 10_000_000)
    }
  }

  /// An update changes the state, under the registry's lock; a file that is torn is written again.
  private func takeOverUpdate() throws(SystemError) {
    guard let written = directory.load(), written.claim != nil else {
      return try directory.save(state)
    }
    let before = heldTime
    let isChanged = written.claim?.held != state.claim?.held
    state = written
    if isChanged { append(rule: .update, before: before, after: heldTime) }
  }

  /// Sees to it that the container's own group has what the container holds.
  private func judgeOwnSet(_ registry: borrowing CPURegistry) throws(SystemError) {
    guard let claim = state.claim, let found = container.cpus() else { return checkMembers() }
    if found == claim.held { return }
    try judgeForeignSet(found, claim, registry, at: monotonicNow())
  }

  /// Somebody has written a set that was not agreed on: it is taken where it can be had, and else
  /// written over.
  private func judgeForeignSet(
    _ found: CPUSet, _ claim: CPUClaim, _ registry: borrowing CPURegistry, at now: Nanoseconds
  ) throws(SystemError) {
    var claim = claim
    let before = heldTime
    let others = registry.holders(except: state)
    if let granted = try? registry.grant(
      .exactly(found), below: claim.group ?? "/", reserved: CPUSet(), memory: nil,
      holders: others, current: claim.held)
    {
      claim.held = granted.held
      return try hold(claim, rule: .news, before: before)
    }
    if now < lastCorrection + Self.correctionInterval {
      return settle(in: lastCorrection + Self.correctionInterval - now)
    }
    lastCorrection = now
    let kept = others.reduce(claim.held) { $0.subtracting($1.claim.held) }
    try container.setCPUs(kept)
    claim.held = kept
    try hold(claim, rule: .drift, before: Nanoseconds(found.count) * Self.period)
  }

  private func hold(_ claim: CPUClaim, rule: Rule, before: Nanoseconds) throws(SystemError) {
    state.claim = claim
    try directory.save(state)
    append(rule: rule, before: before, after: heldTime)
  }

  /// A quota would bring back the throttling that a strict container has bought itself out of.
  private func removeQuota() {
    guard let found = try? container.quota.current(), found.quota != nil else { return }
    try? container.quota.set(CPUQuota(quota: nil, period: found.period), from: found)
    container.quotaWatch.drain()
  }

  // MARK: the end

  private func checkMembers() {
    hasEnded = container.initProcess.hasEnded && !container.hasMembers
    if container.initProcess.hasEnded && !hasEnded { settle(in: 1_000_000_000) }
  }

  // MARK: the record

  /// The record counts in time a period, and a CPU of one's own is all of it.
  private static let period: Nanoseconds = 100_000_000

  private var heldTime: Nanoseconds { Nanoseconds(state.claim?.held.count ?? 0) * Self.period }

  private func append(rule: Rule, before: Nanoseconds, after: Nanoseconds) {
    record.append(
      RecordEntry(
        time: wallClockNow(), rule: rule, applied: true, before: before, after: after, use: 0,
        period: Self.period))
  }
}
