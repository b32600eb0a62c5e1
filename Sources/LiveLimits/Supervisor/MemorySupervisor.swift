// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The memory of one container: reading, law, write, record; beside the CPU in a supervisor's loop.
final class MemorySupervisor: MemoryController.Environment {
  /// What was declared, and what it may have.
  var base: MemoryBase {
    didSet { writer.application = base.application }
  }
  /// Whether ``base`` has changed and has to be written down; whoever does so says so.
  var isBaseChanged = false
  /// When to look again; nil: when the kernel calls.
  var deadline: Nanoseconds?

  /// What was decided and is to be asked for, where the limit is shared with others.
  private(set) var wish: MemoryController.Decision?
  /// Whether the container declares, or has, something else than its application was told.
  var isRedeclared = false

  /// The limit of the group that it is in with others, where that rises with its own.
  var parent: ParentLimit? {
    didSet { parent?.hold(base.excess(of: ours)) }
  }

  /// The limit in force; under `observe` what it would be.
  var held: Int64 { writer.isReadOnly ? controller.limit : ours }

  let isShared: Bool
  var writer: MemoryWriter
  /// The limit of the group right above the container's own; ``FileDescriptor/none`` where it is not
  /// watched.
  let above: FileDescriptor
  let meter: MemoryMeter
  private let calls: MemoryCalls
  let law: MemoryLaw
  var controller: MemoryController
  /// What the kernel should hold: our last write, or what was found.
  var ours: Int64
  /// The same of cgroup v2's line.
  private var ourLine: Int64
  /// What other processes write, judged.
  var external: WriteJudge
  /// When what another process has written may be written over; nil if there is nothing of the kind.
  var correction: Nanoseconds?
  private var kills: Int64

  /// Whether nobody looks here when the container works: on cgroup v2 nothing calls then when memory
  /// is freed.
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
  convenience init?(_ handover: ReexecState) throws(SystemError) {
    guard let base = handover.memory, handover.has(.memoryLimit) else { return nil }
    try self.init(
      base, isObserver: handover.isObserver, isShared: handover.priority != nil
    ) { handover.take($0) }
  }

  /// Takes over what ``FoundMemory`` has opened.
  ///
  /// - Parameters:
  ///   - base: What it may have.
  ///   - isObserver: Whether nothing is to be written.
  ///   - isShared: Whether what it wants is an application's to grant: ``keep(_:)``.
  ///   - take: Gives the file of a place away; ``FileDescriptor/none`` for one that holds nothing.
  /// - Throws: ``SystemError``; ENODEV when the group is gone.
  init(
    _ base: MemoryBase, isObserver: Bool, isShared: Bool = false,
    _ take: (ReexecState.Place) -> FileDescriptor
  ) throws(SystemError) {
    self.base = base
    self.isShared = isShared
    external = WriteJudge(isOurGroup: base.inner != nil)
    writer = MemoryWriter(
      limit: take(.memoryLimit), swap: take(.memorySwap), line: take(.memoryLine),
      other: take(.memoryOther), inner: take(.innerMemory),
      innerSwap: take(.innerSwap), readOnly: isObserver, isLine: base.isLine)
    writer.application = base.application
    meter = MemoryMeter(
      usage: take(.memoryUsage), statistics: take(.memoryStatistics), kills: take(.memoryKills),
      machine: take(.machineMemory), pressure: take(.machinePressure))
    calls = MemoryCalls(use: take(.memoryCalls), outOfMemory: take(.outOfMemory))
    above = take(.aboveMemory)
    // What somebody has written since is to be judged.
    let found = if let found = base.found { found } else { try writer.current() }
    let now = monotonicNow()
    ours = found
    ourLine = try writer.line()
    kills = meter.kills() ?? 0
    law = MemoryLaw(to: base.limit, version: writer.version)
    controller = MemoryController(law, limit: ours, bounds: base.bounds, now: now)
    deadline = now
    // Whoever was here before may have raised the one and not come to the other.
    writer.alignSwap(to: base.memorySwap(at: found))
  }

  /// Has a poller say when the kernel calls.
  func add(to poller: borrowing Poller) throws(SystemError) {
    try calls.add(to: poller, use: Token.use, outOfMemory: Token.outOfMemory)
  }

  /// What was in force when this supervisor began.
  func opening() -> RecordEntry { entry(.memoryFound, ours, ours, use: (try? meter.usage()) ?? 0) }

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
    guard isAtLimit || writer.version == .v2, let now = meter.kills() else { return entries }
    let isKill =
      now > kills || (isAtLimit && controller.limit >= controller.bounds.ceiling)
    kills = now
    guard isKill else { return entries }
    return entries + [entry(.memoryKill, ours, ours, use: (try? meter.usage()) ?? 0)]
  }

  /// Looks at the container, and does what there is to do.
  ///
  /// - Parameter isRoutine: Whether the limit is what it was: whoever writes it is heard.
  /// - Returns: What is to be recorded.
  func look(isRoutine: Bool = false) -> [RecordEntry] {
    // What was left to be written over is not what it was.
    let isRoutine = isRoutine && correction == nil
    var entries = isRoutine ? [] : takeInner()
    guard let found = isRoutine ? ours : try? writer.current(), let usage = try? meter.usage()
    else {
      // ENODEV: the group is gone, and init's pidfd will say so too.
      deadline = nil
      return []
    }
    if !isRoutine { lookAbove() }
    correction = nil
    if found != ours {
      entries += judge(found, usage)
      parent?.hold(base.excess(of: ours))
    }
    parent?.look(at: monotonicNow(), holding: base.excess(of: ours))
    if base.above.follow(parent) { isRedeclared = isShared }
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
    if isAlone, writer.version == .v2, deadline == nil {
      // Ever less often, as long as nothing happens.
      deadline = monotonicNow() + lonelyPatience
      lonelyPatience = min(2 * lonelyPatience, Self.longestPatience)
    }
    if let moved = moveLine() { entries.append(moved) }
    return entries
  }

  func apply(_ decision: MemoryController.Decision, _ before: Int64) -> RecordEntry {
    let made = entry(decision.rule, before, decision.limit, use: decision.use)
    guard decision.limit != before, !writer.isReadOnly else { return made }
    guard makeRoom(for: decision.limit) else {
      controller.refuse(found: before, wasLowering: false)
      return entry(.memoryNotTaken, decision.limit, before, use: decision.use)
    }
    let change = writer.carryOut(
      decision, of: &controller, from: before,
      swap: base.memorySwap(at: decision.limit), surroundings: self,
      use: { try? meter.usage() })
    (ours, ourLine) = (change.limit, change.line)
    parent?.lower(to: base.excess(of: ours))
    return change.isTaken
      ? made : entry(.memoryNotTaken, decision.limit, change.limit, use: decision.use)
  }

  /// Has the group that it is in with others have more first.
  private func makeRoom(for limit: Int64) -> Bool {
    guard let parent else { return true }
    do throws(SystemError) {
      try parent.raise(to: base.excess(of: limit))
      return true
    } catch {
      if error.errno == EAGAIN || error.errno == ENODEV { return false }
      // What that group has is the most from now on, as where nobody may change it.
      base.above.giveUpRaising(at: max(ours, parent.amount ?? ours))
      parent.hold(base.excess(of: ours))
      self.parent = nil
      controller.adopt(limit: ours, bounds: base.bounds)
      return false
    }
  }

  // MARK: the application

  /// What it declares and may have, as its application is told; and what it holds.
  var share: MemberRecord.Share { base.share(held: ours) }

  /// For how long a wish that is not granted waits until it is made again.
  private static let patience: Nanoseconds = 100_000_000
  /// When to look after a grant: what was needed when it was asked for may be less by now, or more.
  private static let afterGrant: Nanoseconds = 10_000_000

  /// Makes this the limit, as far as what is used at this moment lets it: an application has
  /// granted it, or wants some of it back for somebody who has nothing left ahead.
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
      inUse = (try? meter.usage()) ?? 0
    }
    var rule: Rule = amount > before ? .memoryGranted : .memoryRecalled
    if let wish, wish.limit == amount { rule = wish.rule }
    controller.hold(target)
    let decision = MemoryController.Decision(limit: target, rule: rule, use: inUse)
    let made = apply(decision, before)
    controller.hold(ours)
    if ours > before { deadline = min(deadline ?? .max, monotonicNow() + Self.afterGrant) }
    // The kernel counts whole pages, and what is left of one is nobody's.
    return (MemoryBase.isSame(ours, amount) ? amount : ours, inUse, made)
  }

  /// Brings cgroup v2's line to where it is to be, under the limit that is in force.
  private func moveLine() -> RecordEntry? {
    guard writer.version == .v2, !writer.isReadOnly, !writer.isLine,
      let found = try? writer.line()
    else {
      return nil
    }
    let wanted = controller.line ?? MemoryLimit.unlimited
    guard found != wanted else { return nil }
    let isForeign = found != ourLine
    let now = monotonicNow()
    if isForeign, now < external.next {
      deadline = min(deadline ?? .max, external.next)
      return nil
    }
    guard (try? writer.set(line: wanted)) != nil else { return nil }
    ourLine = wanted
    guard isForeign else { return nil }
    external.corrected(at: now)
    return entry(.memoryDrift, found, wanted, use: 0)
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

  /// What is used at this moment; the cache first, as where a change is carried out.
  func reading() -> MemoryReading {
    let inactive = meter.inactiveFile()
    return MemoryReading(usage: (try? meter.usage()) ?? 0, inactiveFile: inactive)
  }

  func spareMemory() -> Int64 {
    guard let available = meter.available() else { return .max }
    // Who has named a reserve wants the machine to stay well; waiting for memory says that it is not.
    if base.hostReserve > 0, meter.stalledPercent() >= Self.tooMuchStalling { return 0 }
    return available - base.hostReserve
  }

  func entry(_ rule: Rule, _ before: Int64, _ after: Int64, use: Int64) -> RecordEntry {
    RecordEntry(
      time: wallClockNow(), rule: rule, applied: !writer.isReadOnly, before: before, after: after,
      use: use, period: 0)
  }
}
