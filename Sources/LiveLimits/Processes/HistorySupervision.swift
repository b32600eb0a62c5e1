// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The history of one container: a record of what its supervisor sees anyway, beside its loop.
///
/// It asks for no wake-up. With a trace it asks for a look at the end of each step while the
/// container is busy.
final class HistorySupervision {
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

  /// The least time between two snapshots; later on a fiftieth of the run's duration.
  private static let interval: Nanoseconds = 600_000_000_000

  /// Takes over what the finding image has opened; nil where nothing is recorded.
  init?(_ handover: Handover, nonce: UInt64, memory: MemorySupervision?, usage: Nanoseconds) {
    guard handover.has(.history) else { return nil }
    segment = handover.take(.history)
    traceFile = handover.take(.historyTrace)
    self.memory = handover.take(.historyMemory)
    peak = handover.take(.historyPeak)
    statistics = handover.take(.historyStatistics)
    kills = handover.take(.historyKills)
    isUnified = handover.version == .v2
    declaredMemory = handover.declaredMemory
    let (base, now) = (handover.base, monotonicNow())
    var record = RunRecord(nonce: nonce, started: wallClockNow(), period: base.period)
    record.isObserved = handover.isObserver
    recorder = RunRecorder(
      record,
      first: RunRecorder.Reading(
        time: now, usage: usage, quota: base.quota(of: handover.found),
        memoryLimit: memory?.held),
      quietUse: base.bounds(hasAlarm: true).floor / 5)
    trace =
      traceFile.isOpen
      ? TraceRecorder(period: base.period, now: now, wallClock: record.started, usage: usage) : nil
    nextSnapshot = now + Self.interval
  }

  /// Takes note of a look at the container.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far.
  ///   - now: The time.
  ///   - quota: The CPU limit from now on, in nanoseconds of CPU time a period.
  ///   - supervision: What else is known.
  func note(
    _ usage: Nanoseconds, at now: Nanoseconds, quota: Nanoseconds, _ supervision: Supervision
  ) {
    let used = (try? memory.integer(subject: "the memory usage")) ?? nil
    recorder.note(
      RunRecorder.Reading(
        time: now, usage: usage, quota: quota, memory: used,
        memoryLimit: supervision.memory?.held))
    if let block = trace?.note(usage, at: now) { write(block, to: traceFile) }
    if now >= nextSnapshot { snapshot(supervision) }
  }

  /// When a look is due; never for a container that is not traced, or is quiet.
  ///
  /// - Parameters:
  ///   - deadline: When the controller wants the next one; nil for a quiet container.
  ///   - now: The time.
  /// - Returns: The earlier of both.
  func deadline(_ deadline: Nanoseconds?, at now: Nanoseconds) -> Nanoseconds? {
    guard let trace, !trace.isFull, let deadline else { return deadline }
    return min(deadline, trace.end(at: now))
  }

  /// Appends what is known of a run that goes on.
  func snapshot(_ supervision: Supervision) {
    append(supervision, isFinal: false)
    let duration = recorder.record.duration
    nextSnapshot = monotonicNow() + max(Self.interval, duration / 50)
  }

  /// Appends the record of a run that is over.
  func end(_ supervision: Supervision) {
    recorder.end()
    append(supervision, isFinal: true)
    if let block = trace?.end() { write(block, to: traceFile) }
  }

  private func append(_ supervision: Supervision, isFinal: Bool) {
    lookAtKernel()
    let counters = supervision.controller.counters
    let base = supervision.base
    recorder.complete { record in
      record.isFinal = isFinal
      record.written = wallClockNow()
      record.declaredCPU = max(0, base.declaredCores ?? 0)
      record.declaredMemory = max(0, supervision.memory?.base.declared ?? declaredMemory)
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

  /// Why something could not be written; nil where nothing is to be told, or was told already.
  func takeLoss() -> Int32? {
    guard let loss, !loss.isTold else { return nil }
    self.loss?.isTold = true
    return loss.errno
  }

  /// Reads what only the kernel counts; what it does not say any more stays what it was.
  func lookAtKernel() {
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
