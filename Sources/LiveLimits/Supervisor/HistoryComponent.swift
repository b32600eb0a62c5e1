// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The history of one container: a record of what its supervisor sees anyway.
///
/// It asks for no wake-up. With a trace it asks for a look at the end of each step while the
/// container is busy.
final class HistoryComponent: Component {
  private let container: SupervisedContainer
  private let cpu: CPUComponent
  private let segment: FileDescriptor
  private let traceFile: FileDescriptor
  private let memory: FileDescriptor
  private let peak: FileDescriptor
  private let statistics: FileDescriptor
  private let kills: FileDescriptor
  private let isUnified: Bool
  private let declaredMemory: Int64
  private var recorder: RunRecorder
  private var trace: TraceRecorder?
  private var nextSnapshot: Nanoseconds
  /// Why something could not be written, once something could not.
  private var loss: (errno: Int32, isTold: Bool)?

  /// Whether the keeper is told at the end of the loop that something could not be written.
  private(set) var hasLostItsEnd = false

  /// The least time between two snapshots; later on a fiftieth of the run's duration.
  private static let interval: Nanoseconds = 600_000_000_000

  /// Takes over what the finding image has opened; nil if nothing is recorded.
  init?(_ container: SupervisedContainer, _ cpu: CPUComponent, _ handover: ReexecState) {
    guard handover.has(.history) else { return nil }
    self.container = container
    self.cpu = cpu
    // ENODEV: the container has ended already.
    let usage = (try? container.handles.meter.read()) ?? 0
    segment = handover.take(.history)
    traceFile = handover.take(.historyTrace)
    self.memory = handover.take(.historyMemory)
    peak = handover.take(.historyPeak)
    statistics = handover.take(.historyStatistics)
    kills = handover.take(.historyKills)
    // == of an enum with a raw value is generic, and what it looks up is a page that stays.
    if case .v2 = handover.version { isUnified = true } else { isUnified = false }
    declaredMemory = handover.declaredMemory
    let (base, now) = (handover.base, monotonicNow())
    var record = RunRecord(
      nonce: container.directory.nonce, started: wallClockNow(), period: base.period)
    record.isObserved = handover.isObserver
    recorder = RunRecorder(
      record,
      first: RunRecorder.Reading(
        time: now, usage: usage, quota: base.quota(of: handover.found),
        memoryLimit: container.memory?.held),
      quietUse: base.bounds(hasAlarm: true).floor / 5, seesQuarters: traceFile.isOpen)
    trace =
      traceFile.isOpen
      ? TraceRecorder(period: base.period, now: now, wallClock: record.started, usage: usage) : nil
    nextSnapshot = now + Self.interval
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .effect(.usedCPU(let usage, let now)): note(usage, at: now)
    case .effect(.willLookAtCPU(let deadline)):
      if let moment = traceDeadline, moment < deadline { return [.lookAtCPUBy(moment)] }
    // What there is of the container's last moments: its group may go with its init.
    case .effect(.initEnded): noteNow()
    case .effect(.message(.snapshot, _)):
      if noteNow() { snapshot() }
    case .ended:
      recorder.end()
      append(isFinal: true)
      if let block = trace?.end() { write(block, to: traceFile) }
      hasLostItsEnd = loss.map { !$0.isTold } ?? false
    default: return []
    }
    return reportLoss()
  }

  /// What has the keeper say that something could not be written; nothing where it was told already.
  private func reportLoss() -> [Effect] {
    guard let loss, !loss.isTold, container.hasKeeper else { return [] }
    self.loss?.isTold = true
    return [.tellKeeper(.unrecorded(errno: loss.errno))]
  }

  /// Takes note of a look at the container.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far.
  ///   - now: The time.
  private func note(_ usage: Nanoseconds, at now: Nanoseconds) {
    // Unknown once the group is gone.
    let used = (try? memory.integer(subject: "the memory usage")) ?? nil
    recorder.note(
      RunRecorder.Reading(
        time: now, usage: usage, quota: cpu.controller.quota, memory: used,
        memoryLimit: container.memory?.held))
    if let block = trace?.note(usage, at: now) {
      write(block, to: traceFile)
      if trace?.isFull == true { recorder.endQuarters() }
    }
    if now >= nextSnapshot { snapshot() }
  }

  /// - Returns: Whether there was something to take note of.
  @discardableResult
  private func noteNow() -> Bool {
    // ENODEV: the group is gone.
    guard let usage = try? container.handles.meter.read() else { return false }
    note(usage, at: monotonicNow())
    lookAtKernel()
    return true
  }

  /// When a look is due at a container that is busy; nil for one that is not traced.
  private var traceDeadline: Nanoseconds? {
    guard let trace, !trace.isFull else { return nil }
    return trace.end(at: monotonicNow())
  }

  /// Appends what is known of a run that goes on.
  private func snapshot() {
    append(isFinal: false)
    let duration = recorder.record.duration
    nextSnapshot = monotonicNow() + max(Self.interval, duration / 50)
  }

  private func append(isFinal: Bool) {
    lookAtKernel()
    let counters = container.log.total(with: cpu.controller.counters)
    let base = container.base
    recorder.complete { record in
      record.isFinal = isFinal
      record.written = wallClockNow()
      record.declaredCPU = max(0, base.declaredCores ?? 0)
      record.declaredMemory = max(0, container.memory?.base.declared ?? declaredMemory)
      record.stalled = counters.stalled
      record.events.raises = UInt32(clamping: counters.raises)
      record.events.returns = UInt32(clamping: counters.returns)
      record.events.throttles = UInt32(clamping: counters.throttles)
      record.events.refusals = UInt32(clamping: counters.refusals)
      record.events.memoryRaises = UInt32(clamping: counters.memoryRaises)
      record.events.memoryRefusals = UInt32(clamping: counters.memoryRefusals)
    }
    withUnsafeTemporaryAllocation(byteCount: RunRecord.size, alignment: 8) { buffer in
      recorder.record.encode(into: buffer)
      write(UnsafeRawBufferPointer(buffer), to: segment)
    }
  }

  /// Reads what only the kernel counts; what it does not say any more stays what it was.
  private func lookAtKernel() {
    if let peak = (try? peak.integer(subject: "the memory peak")) ?? nil {
      recorder.note(peak: peak)
    }
    let text = (try? statistics.contents(subject: "cpu.stat")) ?? ""
    let name = isUnified ? "throttled_usec " : "throttled_time "
    if let time = MemoryMeter.number(behind: name, in: text) {
      recorder.complete { $0.throttledTime = isUnified ? time &* 1000 : time }
    }
    let events = (try? kills.contents(subject: "the OOM kills")) ?? ""
    if let count = MemoryMeter.number(behind: "oom_kill ", in: events) {
      recorder.complete { $0.events.kills = UInt32(clamping: count) }
    }
  }

  private func write(_ bytes: [UInt8], to file: borrowing FileDescriptor) {
    let number = file.number
    bytes.withUnsafeBytes { note(Glibc.write(number, $0.baseAddress, $0.count), of: $0.count) }
  }

  private func write(_ bytes: UnsafeRawBufferPointer, to file: borrowing FileDescriptor) {
    note(Glibc.write(file.number, bytes.baseAddress, bytes.count), of: bytes.count)
  }

  /// A reader leaves out what a full disk has kept the beginning of.
  private func note(_ written: Int, of count: Int) {
    guard written != count, loss == nil else { return }
    loss = (written < 0 ? errno : ENOSPC, false)
  }
}
