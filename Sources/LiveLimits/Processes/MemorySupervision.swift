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
    if found != ours { entries.append(takeOver(found)) }
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
