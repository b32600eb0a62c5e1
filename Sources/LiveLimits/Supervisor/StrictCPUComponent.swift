// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The exclusive CPUs of a strict container.
///
/// It notices every group that is made and every set that is written in the cpuset hierarchy, and
/// then makes the tree what it has to be.
final class StrictCPUComponent: Component {
  private let shared: StrictState
  private let container: StrictContainer
  private let fence: CPUFence
  private(set) var deadline: Nanoseconds?
  private var lastSettling: Nanoseconds = .min / 2
  private var external = WriteJudge(isOurGroup: false)
  private var failures = 0
  private var hasEnded = false

  /// A new container's first events come in bursts; they are answered together.
  private static let settlingDelay: Nanoseconds = 2_000_000
  /// The shortest time between two looks at the whole tree, whatever others write there.
  private static let settlingInterval: Nanoseconds = 20_000_000
  /// The time between two looks at groups that no inotify had room for.
  private static let poll: Nanoseconds = 50_000_000

  init(
    _ shared: StrictState, _ container: StrictContainer, _ fence: CPUFence,
    _ poller: consuming Poller
  ) throws(SystemError) {
    (self.shared, self.container, self.fence) = (shared, container, fence)
    // One inotify for all: their number is small (fs.inotify.max_user_instances).
    try fence.watch.addWrites(to: container.quota.quotaFile)
    if container.quota.innerFile.isOpen {
      try fence.watch.addWrites(to: container.quota.innerFile)
    }
    try fence.watch.add(to: poller, token: 0)
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .began:
      shared.append(rule: .start, before: shared.heldTime, after: shared.heldTime)
      shared.log.save()
      return settle()
    case .readable:
      // At once: the rest can wait for whatever belongs to it.
      container.leaveBrokenPartition()
      fence.watch.drain()
      settle(
        by: max(monotonicNow() + Self.settlingDelay, lastSettling + Self.settlingInterval))
    case .deadline:
      deadline = nil
      return [.checkMembers, .settleCPUs]
    case .effect(.settleCPUs): return hasEnded ? [] : settle()
    case .effect(.end): hasEnded = true
    case .settled:
      shared.log.save()
      return shared.takeListener()
    default: break
    }
    return []
  }

  private func settle(by moment: Nanoseconds) { deadline = min(deadline ?? .max, moment) }

  private func settle() -> [Effect] {
    lastSettling = monotonicNow()
    var effects: [Effect] = []
    do throws(SystemError) {
      let registry = try CPURegistry(locking: fence.root)
      try shared.takeOverUpdate()
      effects = try judgeOwnSet(registry)
      removeQuota()
      try fence.settle(registry)
      try noteSource()
      failures = 0
    } catch {
      report(error)
    }
    if !fence.hearsOfAll { settle(by: monotonicNow() + Self.poll) }
    return effects
  }

  /// Says in the state whether it is a partition now.
  private func noteSource() throws(SystemError) {
    let source = container.source
    if source == shared.state.source { return }
    shared.state.source = source
    try shared.save()
  }

  /// What could not be done is tried again, ever less often; the log says so once.
  private func report(_ error: SystemError) {
    if failures == 3 {
      escra_syslog(
        true,
        "escra: others may run on the CPUs of strict container \(shared.state.id): \(error)")
    }
    failures = min(failures + 1, 10)
    settle(by: monotonicNow() + 1_000_000 << Nanoseconds(failures))
  }

  /// Sees to it that the container's own group has what the container holds.
  ///
  /// Another process may have written a set that was not agreed on: it is taken if it is available,
  /// and else written over.
  private func judgeOwnSet(_ registry: borrowing CPURegistry) throws(SystemError) -> [Effect] {
    guard let claim = shared.state.claim, let found = container.cpus() else {
      return [.checkMembers]
    }
    if found == claim.held { return [] }
    let others = registry.holders(except: shared.state)
    // What it holds already it may have less of, whatever has become of the way there.
    let isAvailable =
      found.isSubset(of: claim.held) && !found.isEmpty
      // Refused: not available.
      || (try? registry.grant(
        CPURequest(set: found), group: claim.group, reserved: CPUSet(), memory: nil,
        holders: others, current: claim.held)) != nil
    let now = monotonicNow()
    switch external.judge(isOurs: false, isOld: !isAvailable, at: now) {
    case .declared: try hold(found, rule: .news)
    case .overwritten(let moment) where moment > now: settle(by: moment)
    case .ours, .overwritten:
      external.corrected(at: now)
      try container.setCPUs(claim.held)
      shared.append(rule: .drift, before: StrictState.time(of: found), after: shared.heldTime)
    }
    return []
  }

  private func hold(_ cpus: CPUSet, rule: Rule) throws(SystemError) {
    let before = shared.heldTime
    shared.state.claim?.held = cpus
    shared.state.claim?.asked = CPURequest(set: cpus)
    try shared.save()
    shared.append(rule: rule, before: before, after: shared.heldTime)
  }

  /// A quota would bring back the throttling that a strict container has bought itself out of.
  private func removeQuota() {
    // ENODEV: the container has ended, and its end is noticed elsewhere.
    guard let found = try? container.quota.current(), found.quota != nil else { return }
    let none = CFSBandwidth(quota: nil, period: found.period)
    // Refused: tried again at the next write.
    if container.quota.innerFile.isOpen { try? container.quota.raiseInner(to: none) }
    try? container.quota.set(none, from: found)
  }
}

/// The outer group of a strict container: other processes write its weights and limits.
final class StrictOuterComponent: Component {
  private let outer: StrictOuterGroup

  init(_ outer: StrictOuterGroup, _ poller: consuming Poller) throws(SystemError) {
    self.outer = outer
    try outer.watch.add(to: poller, token: 0)
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .began: outer.weights.carry()
    case .readable:
      guard outer.watch.take({ _ in }) else { return [] }
      outer.weights.carry()
      return [.lookAtMemory(isRoutine: false)]
    default: break
    }
    return []
  }
}
