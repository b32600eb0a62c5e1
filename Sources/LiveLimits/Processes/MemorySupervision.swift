// SPDX-License-Identifier: Apache-2.0
internal import Hooks
internal import Syscalls

/// The memory of one container: reading, law, write, record; beside the CPU in a supervisor's loop.
final class MemorySupervision: MemoryController.Surroundings {
  /// What was declared, and what it may have.
  private(set) var base: MemoryBase
  /// Whether ``base`` has changed and has to be written down; whoever does so says so.
  var isBaseChanged = false
  /// When to look again; nil: when the kernel calls.
  private(set) var deadline: Nanoseconds?

  private let writer: MemoryWriter
  private let meter: MemoryMeter
  private let calls: MemoryCalls
  private var controller: MemoryController
  /// What the kernel should hold: our last write, or what was found.
  private var ours: Int64
  private var kills: Int64

  /// The tokens of its descriptors in the loop's poller.
  enum Token {
    static let use: UInt64 = 0x20
    static let outOfMemory: UInt64 = 0x21
  }

  /// Takes over what the finding image has opened; nil where memory is not moved.
  init?(_ handover: Handover) throws(SystemError) {
    guard let base = handover.memory, handover.has(.memoryLimit) else { return nil }
    self.base = base
    writer = MemoryWriter(
      limit: handover.take(.memoryLimit), swap: handover.take(.memorySwap),
      readOnly: handover.isObserver)
    meter = MemoryMeter(
      usage: handover.take(.memoryUsage), statistics: handover.take(.memoryStatistics),
      kills: handover.take(.memoryKills), machine: handover.take(.machineMemory))
    calls = MemoryCalls(
      use: handover.take(.memoryCalls), outOfMemory: handover.take(.outOfMemory))
    let found = try writer.current()
    let now = monotonicNow()
    ours = found
    kills = meter.kills() ?? 0
    controller = MemoryController(
      MemoryLaw(to: base.limit), limit: found, bounds: base.bounds, now: now)
    deadline = now
    // Whoever was here before may have raised the one and not come to the other.
    writer.alignSwap(to: base.memorySwap(at: found))
  }

  /// Has a poller say when the kernel calls.
  func add(to poller: borrowing Poller) throws(SystemError) {
    try poller.add(calls.use.number, token: Token.use)
    try poller.add(calls.outOfMemory.number, token: Token.outOfMemory)
  }

  /// What was in force when this supervisor began.
  func opening() -> RecordEntry { entry(.memoryFound, ours, ours, use: (try? meter.usage()) ?? 0) }

  /// Takes note that the kernel has called.
  ///
  /// - Parameter token: One of ``Token``.
  /// - Returns: What is to be recorded.
  func hear(_ token: UInt64) -> [RecordEntry] {
    if token == Token.use {
      calls.acknowledgeUse()
      return look()
    }
    calls.acknowledgeOutOfMemory()
    let entries = look()
    // The call comes before the kill. A container that has switched its kills off waits instead,
    // and a raise resumes it.
    guard let now = meter.kills() else { return entries }
    let isKill = now > kills || controller.limit >= controller.bounds.ceiling
    kills = now
    guard isKill else { return entries }
    return entries + [entry(.memoryKill, ours, ours, use: (try? meter.usage()) ?? 0)]
  }

  /// Looks at the container, and does what there is to do.
  ///
  /// - Returns: What is to be recorded.
  func look() -> [RecordEntry] {
    guard let found = try? writer.current(), let usage = try? meter.usage() else {
      // ENODEV: the group is gone, and init's pidfd will say so too.
      deadline = nil
      return []
    }
    var entries: [RecordEntry] = []
    if found != ours {
      if let awaited = expected, awaited.limit == found, monotonicNow() <= awaited.until {
        // What we had said; meanwhile it has moved on.
        expected = nil
        ours = found
        controller.adopt(limit: found, bounds: base.bounds)
      } else {
        entries.append(takeOver(found))
      }
    }
    let before = controller.limit
    let step = controller.observe(usage: usage, at: monotonicNow(), surroundings: self)
    deadline = step.deadline
    guard let decision = step.decision else { return entries }
    entries.append(apply(decision, before))
    return entries
  }

  private func apply(_ decision: MemoryController.Decision, _ before: Int64) -> RecordEntry {
    let made = entry(decision.rule, before, decision.limit, use: decision.use)
    guard decision.limit != before, !writer.isReadOnly else { return made }
    do throws(SystemError) {
      try writer.set(decision.limit, swap: base.memorySwap(at: decision.limit))
      ours = (try? writer.current()) ?? decision.limit
      return made
    } catch {
      let found = (try? writer.current()) ?? before
      ours = found
      controller.refuse(found: found, wasLowering: decision.limit < before)
      return entry(.memoryNotTaken, decision.limit, found, use: decision.use)
    }
  }

  /// Somebody else has written another limit: it is what the container declares from now on.
  private func takeOver(_ found: Int64) -> RecordEntry {
    let before = ours
    ours = found
    base.declared = found >= MemoryBase.unlimited ? nil : found
    isBaseChanged = true
    controller.adopt(limit: found, bounds: base.bounds)
    return entry(.memoryNews, before, found, use: (try? meter.usage()) ?? 0)
  }

  // MARK: updates

  /// What an update may write while it is expected: our own value, given back to us.
  private var expected: (limit: Int64, until: Nanoseconds)?
  /// How long an update may take from our answer to its write.
  private static let expectation: Nanoseconds = 5_000_000_000

  /// An update that is on its way, told before the low-level runtime writes it: it writes the
  /// memory limit that it knows along with whatever is changed.
  ///
  /// - Parameters:
  ///   - limit: The declared limit in bytes from now on, -1 for none; nil where it stays.
  ///   - swap: Memory and swap together likewise.
  /// - Returns: What is to be recorded.
  func update(limit: Int64?, swap: Int64?) -> [RecordEntry] {
    var entries = look()
    let before = controller.limit
    if let limit { base.declared = limit > 0 ? limit : nil }
    if let swap, let declared = base.declared {
      base.swapAllowance = swap > 0 ? max(0, swap - declared) : nil
    }
    guard limit != nil || swap != nil else { return entries }
    isBaseChanged = true
    // It starts from what is declared, as it would at create, if it fits.
    let usage = (try? meter.usage()) ?? 0
    let start = base.bounds.clamp(base.declared ?? base.limit)
    let reading = MemoryReading(usage: usage, inactiveFile: meter.inactiveFile())
    let target = max(start, min(before, MemoryLaw(to: base.limit).need(reading)))
    controller.adopt(limit: before, bounds: base.bounds)
    guard limit != nil, target != before else {
      writer.alignSwap(to: base.memorySwap(at: before))
      return entries
    }
    controller.adopt(limit: target, bounds: base.bounds)
    entries.append(
      apply(
        MemoryController.Decision(limit: target, rule: .memoryUpdate, use: reading.workingSet),
        before))
    return entries
  }

  /// What the low-level runtime is to write, so that its update does not take back what was given;
  /// nothing under `observe`.
  var applied: (limit: Int64?, swap: Int64?) {
    guard !writer.isReadOnly else { return (nil, nil) }
    expected = (ours, monotonicNow() + Self.expectation)
    let limit = ours >= MemoryBase.unlimited ? -1 : ours
    return (limit, base.memorySwap(at: ours).map { limit < 0 ? -1 : $0 })
  }

  // MARK: surroundings

  func inactiveFile() -> Int64 { meter.inactiveFile() }

  func spareMemory() -> Int64 {
    guard let available = meter.available() else { return .max }
    return available - base.hostReserve
  }

  private func entry(_ rule: Rule, _ before: Int64, _ after: Int64, use: Int64) -> RecordEntry {
    RecordEntry(
      time: wallClockNow(), rule: rule, applied: !writer.isReadOnly, before: before, after: after,
      use: use, period: 0)
  }
}
