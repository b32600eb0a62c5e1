// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The memory of one container: reading, law, decision, record; beside the CPU in a supervisor's
/// loop.
final class MemorySupervisor: MemoryController.Environment {
  /// The one type that writes its limit.
  let limits: MemoryLimitApplier
  /// Whether what is declared has changed and has to be written down; the owner of the state clears
  /// it.
  var isBaseChanged = false
  /// When to look again; nil: when the kernel calls.
  var deadline: Nanoseconds?

  /// What was decided and is to be asked for, where the limit is shared with others.
  private(set) var wish: MemoryController.Decision?
  /// Whether the container declares, or has, something else than its application was told.
  var isRedeclared = false

  /// What was declared, and what it may have.
  var base: MemoryBase {
    get { limits.base }
    set { limits.base = newValue }
  }
  /// What the kernel should hold.
  var ours: Int64 { limits.ours }
  /// The limit in force; under `observe` what it would be.
  var held: Int64 { limits.isReadOnly ? controller.limit : ours }

  let isShared: Bool
  private let meter: MemoryMeter
  private let calls: MemoryCalls
  let law: MemoryLaw
  var controller: MemoryController
  /// When what another process has written may be written over; nil if there is nothing of the kind.
  var correction: Nanoseconds?
  private var kills: Int64

  /// Whether no CPU event has it look when the container works: on cgroup v2 nothing calls then
  /// when memory is freed.
  var isAlone = false
  private var lonelyPatience: Nanoseconds = MemorySupervisor.shortestPatience
  private static let shortestPatience: Nanoseconds = 1_000_000_000
  private static let longestPatience: Nanoseconds = 60_000_000_000

  /// From here on the machine is held to have no memory to spare, where something is to be kept:
  /// a tenth of the last ten seconds went by with nothing but waiting for it.
  private static let tooMuchStalling: Int64 = 10

  /// The tokens of its descriptors in the loop's poller.
  enum Token {
    static let use: UInt64 = 0x20
    static let outOfMemory: UInt64 = 0x21
  }

  /// Takes over what the finding image has opened; nil where memory is not moved.
  convenience init?(_ handover: ReexecState, _ parent: ParentLimit?) throws(SystemError) {
    guard let base = handover.memory, handover.has(.memoryLimit) else { return nil }
    try self.init(
      base, isObserver: handover.isObserver, isShared: handover.priority != nil, parent
    ) { handover.take($0) }
  }

  /// Takes over what ``FoundMemory`` has opened.
  ///
  /// - Parameters:
  ///   - base: What it may have.
  ///   - isObserver: Whether nothing is to be written.
  ///   - isShared: Whether what it wants is an application's to grant: ``keep(_:)``.
  ///   - parent: The limit of the group that it is in with others, where that rises with its own.
  ///   - take: Gives the file of a place away; ``FileDescriptor/none`` for one that holds nothing.
  /// - Throws: ``SystemError``; ENODEV when the group is gone.
  init(
    _ base: MemoryBase, isObserver: Bool, isShared: Bool = false, _ parent: ParentLimit? = nil,
    _ take: (ReexecState.Place) -> FileDescriptor
  ) throws(SystemError) {
    limits = try MemoryLimitApplier(base, isObserver: isObserver, parent, take)
    self.isShared = isShared
    meter = MemoryMeter(
      usage: take(.memoryUsage), statistics: take(.memoryStatistics), kills: take(.memoryKills),
      machine: take(.machineMemory), pressure: take(.machinePressure))
    calls = MemoryCalls(use: take(.memoryCalls), outOfMemory: take(.outOfMemory))
    kills = meter.kills() ?? 0
    law = MemoryLaw(to: base.limit, version: limits.version)
    let now = monotonicNow()
    controller = MemoryController(law, limit: limits.ours, bounds: base.bounds, now: now)
    deadline = now
  }

  /// Has a poller say when the kernel calls.
  func add(to poller: borrowing Poller) throws(SystemError) {
    try calls.add(to: poller, use: Token.use, outOfMemory: Token.outOfMemory)
  }

  /// What was in force when this supervisor began.
  func opening() -> RecordEntry { entry(.memoryFound, ours, ours, use: use) }

  /// Lowers the limit to what earlier runs of the container needed at first, or to what it needs by now
  /// if that is more: its pace is not known yet, so that it may be the fastest.
  ///
  /// - Returns: What is to be recorded; nil where it stays.
  func startWithPrediction() -> RecordEntry? {
    guard let predicted = base.predictedLimit else { return nil }
    base.predicted = nil
    let (before, reading) = (ours, reading())
    let need = law.need(reading, rate: law.parameters.fastest)
    let target = base.bounds.clamp(max(predicted, need))
    guard target < before else { return nil }
    controller.adopt(limit: target, bounds: base.bounds)
    deadline = monotonicNow()
    return apply(
      MemoryController.Decision(limit: target, rule: .memoryPredicted, use: reading.workingSet),
      before)
  }

  /// Takes note that the kernel has called.
  ///
  /// - Parameter token: One of ``Token``.
  /// - Returns: What is to be recorded.
  func hear(_ token: UInt64) -> [RecordEntry] {
    let isAtLimit = token == Token.outOfMemory
    if isAtLimit { calls.acknowledgeOutOfMemory() } else { calls.acknowledgeUse() }
    let entries = look()
    // On cgroup v1 the call comes before the kill; v2 tells of all there is in one file. A container
    // that has switched its kills off waits instead, and a raise resumes it.
    guard isAtLimit || !limits.version.hasUsageThresholds, let now = meter.kills() else {
      return entries
    }
    let isKill =
      now > kills || (isAtLimit && controller.limit >= controller.bounds.ceiling)
    kills = now
    guard isKill else { return entries }
    return entries + [entry(.memoryKill, ours, ours, use: use)]
  }

  /// Looks at the container, and does what there is to do.
  ///
  /// - Parameter isRoutine: Whether the limit is what it was: writes of other processes are
  ///   noticed.
  /// - Returns: What is to be recorded.
  func look(isRoutine: Bool = false) -> [RecordEntry] {
    // What was left to be written over is not what it was.
    let isRoutine = isRoutine && correction == nil
    var entries = isRoutine ? [] : takeInner()
    guard let found = isRoutine ? ours : limits.current, let usage else {
      // ENODEV: the group is gone, and init's pidfd will say so too.
      deadline = nil
      return []
    }
    if !isRoutine, limits.readAbove() {
      controller.adopt(limit: ours, bounds: base.bounds)
      isRedeclared = isShared
    }
    correction = nil
    if found != ours {
      entries += judge(found, usage)
      limits.settleParent()
    }
    if limits.lookAtParent() { isRedeclared = isShared }
    let before = controller.limit
    let step = controller.observe(usage: usage, at: monotonicNow(), surroundings: self)
    deadline = step.deadline
    if let correction { deadline = min(deadline ?? .max, correction) }
    wish = nil
    if let decision = step.decision {
      lonelyPatience = Self.shortestPatience
      if isShared, decision.limit != before {
        controller.hold(before)
        wish = decision
        // A grant comes by itself; what is needed by then may be more.
        deadline = min(deadline ?? .max, monotonicNow() + Self.patience)
      } else {
        entries.append(apply(decision, before))
      }
    }
    if isAlone, !limits.version.hasUsageThresholds, deadline == nil {
      // Ever less often, as long as nothing happens.
      deadline = monotonicNow() + lonelyPatience
      lonelyPatience = min(2 * lonelyPatience, Self.longestPatience)
    }
    if let moved = moveLine() { entries.append(moved) }
    return entries
  }

  func apply(_ decision: MemoryController.Decision, _ before: Int64) -> RecordEntry {
    let made = entry(decision.rule, before, decision.limit, use: decision.use)
    let isTaken = limits.apply(
      decision, of: &controller, from: before, surroundings: self, use: { usage })
    return isTaken
      ? made : entry(.memoryNotTaken, decision.limit, ours, use: decision.use)
  }

  // MARK: the application

  /// What it declares and may have, as its application is told; and what it holds.
  var share: MemberRecord.Share { base.share(held: ours) }

  /// For how long a wish that is not granted waits until it is made again.
  private static let patience: Nanoseconds = 100_000_000
  /// When to look after a grant: what was needed when it was asked for may be less by now, or more.
  private static let afterGrant: Nanoseconds = 10_000_000

  /// Makes this the limit, as far as what is used at this moment lets it: an application has
  /// granted it, or reclaims some of it for a member that has nothing left.
  ///
  /// - Returns: What the kernel has from now on, what is in use, and what is to be recorded.
  func keep(_ amount: Int64) -> (held: Int64, inUse: Int64, entry: RecordEntry?) {
    let before = ours
    var (target, inUse) = (amount, wish?.use ?? 0)
    if amount < before {
      let reading = reading()
      (target, inUse) = (max(amount, law.least(reading)), reading.workingSet)
      guard target < before else { return (before, inUse, nil) }
    } else if wish == nil {
      // What is page cache is not asked: memory.stat costs what a grant cannot wait for.
      inUse = use
    }
    var rule: Rule = amount > before ? .memoryGranted : .memoryRecalled
    if let wish, wish.limit == amount { rule = wish.rule }
    controller.hold(target)
    let decision = MemoryController.Decision(limit: target, rule: rule, use: inUse)
    let made = apply(decision, before)
    controller.hold(ours)
    if ours > before { deadline = min(deadline ?? .max, monotonicNow() + Self.afterGrant) }
    // The kernel counts whole pages, and a part of one is no limit.
    return (MemoryBase.isSame(ours, amount) ? amount : ours, inUse, made)
  }

  private func moveLine() -> RecordEntry? {
    let wanted = controller.line ?? MemoryLimit.unlimited
    switch limits.setHigh(wanted, at: monotonicNow()) {
    case .none: return nil
    case .postponed(let moment):
      deadline = min(deadline ?? .max, moment)
      return nil
    case .corrected(let found): return entry(.memoryDrift, found, wanted, use: 0)
    }
  }

  // MARK: updates

  /// Whether an update is on its way: what the low-level runtime writes besides what it was told is
  /// an old limit, which it writes again when it has failed.
  var isUpdating = false

  /// What an update may write while it is expected: our own value, given back to us.
  var expected: (limit: Int64, until: Nanoseconds)?
  /// How long an update may take from our answer to its write.
  static let expectation: Nanoseconds = 5_000_000_000

  // MARK: surroundings

  func inactiveFile() -> Int64 { meter.inactiveFile() }

  func pageCache() -> PageCache {
    let found = meter.pageCache()
    return PageCache(
      inactive: found.inactive, active: found.active, refaulted: found.refaulted)
  }

  /// All that is charged at this moment; nil once the group is gone.
  private var usage: Int64? {
    // ENODEV.
    try? meter.usage()
  }
  /// The same for the record.
  var use: Int64 { usage ?? 0 }

  /// What is used at this moment; the cache first, as where a change is carried out.
  func reading() -> MemoryReading {
    let inactive = meter.inactiveFile()
    return MemoryReading(usage: use, inactiveFile: inactive)
  }

  func spareMemory() -> Int64 {
    guard let available = meter.available() else { return .max }
    // A reserve is to keep the machine well; tasks that wait for memory say that it is not.
    if base.hostReserve > 0, meter.stalledPercent() >= Self.tooMuchStalling { return 0 }
    return available - base.hostReserve
  }

  func entry(_ rule: Rule, _ before: Int64, _ after: Int64, use: Int64) -> RecordEntry {
    RecordEntry(
      time: wallClockNow(), rule: rule, applied: !limits.isReadOnly, before: before, after: after,
      use: use, period: 0)
  }
}
