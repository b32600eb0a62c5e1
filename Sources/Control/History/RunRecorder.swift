// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Makes a run's record out of the looks that a supervisor takes anyway.
///
/// A pure state machine: readings come in, and nothing is asked for. A window opens with the first
/// use after a quiet time and closes when a period is over; windows without a quiet one in between
/// are a burst.
package struct RunRecorder: Sendable {
  /// What was read at one moment.
  package struct Reading: Sendable {
    /// The time.
    package var time: Nanoseconds
    /// CPU time used so far.
    package var usage: Nanoseconds
    /// The CPU limit from now on, in nanoseconds of CPU time a period.
    package var quota: Nanoseconds
    /// Memory in use, in bytes; nil where it was not read.
    package var memory: Int64?
    /// The memory limit from now on, in bytes; nil where it does not move.
    package var memoryLimit: Int64?

    /// Makes a reading.
    package init(
      time: Nanoseconds, usage: Nanoseconds, quota: Nanoseconds, memory: Int64? = nil,
      memoryLimit: Int64? = nil
    ) {
      self.time = time
      self.usage = usage
      self.quota = quota
      self.memory = memory
      self.memoryLimit = memoryLimit
    }
  }

  /// The time at the beginning that tells what a container needs at once.
  package static let early: Nanoseconds = 10_000_000_000
  private static let second: Nanoseconds = 1_000_000_000

  /// What was seen so far.
  package private(set) var record: RunRecord
  private let start: Nanoseconds
  private let quietUse: Nanoseconds
  private var last: Reading
  /// What the kernel's periods may hold; nil unless looks come at each quarter of one.
  private var sliding: SlidingPeriod?
  /// The window that is open: when it began, and the use until then.
  private var window: (start: Nanoseconds, usage: Nanoseconds)?
  private var burst: Nanoseconds = 0
  /// The second whose memory peak is not counted yet.
  private var memorySecond: (end: Nanoseconds, peak: Int64) = (0, 0)

  /// Starts with a container that a supervisor has taken over.
  ///
  /// - Parameters:
  ///   - record: A record of nothing.
  ///   - first: The first reading.
  ///   - quietUse: CPU time a period below which the container counts as quiet.
  ///   - seesQuarters: Whether a reading comes at each quarter of a busy period.
  package init(
    _ record: RunRecord, first: Reading, quietUse: Nanoseconds, seesQuarters: Bool = false
  ) {
    self.record = record
    self.record.isSeenInQuarters = seesQuarters
    sliding =
      seesQuarters
      ? SlidingPeriod(period: record.period, time: first.time, usage: first.usage) : nil
    self.quietUse = quietUse
    start = first.time
    last = first
  }

  /// Takes a reading.
  package mutating func note(_ reading: Reading) {
    let time = max(0, reading.time - last.time)
    let use = max(0, reading.usage - last.usage)
    record.usedCPU += use
    record.heldCPU += CFSBandwidth.scaled(last.quota, by: time, over: record.period)
    if let limit = last.memoryLimit {
      record.heldMemory += CFSBandwidth.scaled(limit >> 10, by: time, over: Self.second)
    }
    if window == nil, use > 0 {
      // It worked on one CPU at the least until now, or has just begun.
      window = (reading.time - min(time, use), last.usage)
    }
    if let memory = reading.memory, use > 0 { note(memory: memory, at: reading.time) }
    last = reading
    sliding?.note(time: reading.time, usage: reading.usage)
    record.duration = max(0, reading.time - start)
    if let open = window, reading.time - open.start >= record.period / 20 * 19 {
      close(open.start, used: reading.usage - open.usage, at: reading.time)
    }
  }

  /// Takes note of the most memory that the kernel has seen in use.
  package mutating func note(peak: Int64) {
    record.memoryPeak = max(record.memoryPeak, peak)
    if record.duration <= Self.early { record.earlyMemory = max(record.earlyMemory, peak) }
  }

  /// Readings come no more often than once a period from now on.
  package mutating func endQuarters() {
    sliding = nil
    record.isSeenInQuarters = false
  }

  /// Takes note of what else is to be in the record.
  package mutating func complete(_ complete: (inout RunRecord) -> Void) { complete(&record) }

  /// Ends what is open: the run is over.
  package mutating func end() {
    if let open = window {
      close(open.start, used: last.usage - open.usage, at: max(last.time, open.start + 1))
    }
    endBurst()
    if memorySecond.end > 0 { record.memory.add(memorySecond.peak) }
    memorySecond = (0, 0)
  }

  /// Counts a window whose period is over, and opens the next one unless the container is quiet.
  private mutating func close(_ start: Nanoseconds, used: Nanoseconds, at now: Nanoseconds) {
    let period = record.period
    let periods = max(1, (now - start + period / 2) / period)
    guard used / periods >= quietUse else {
      window = nil
      return endBurst()
    }
    // All of it may have come in one period of the kernel's, if the look was late by less than one.
    let span = periods == 1 ? period : now - start
    let own = periods == 1 ? sliding?.capped(used) ?? used : used
    let any = CFSBandwidth.scaled(sliding?.take() ?? 0, by: 1_000_000_000, over: period)
    let cores = max(any, CFSBandwidth.scaled(own, by: 1_000_000_000, over: span))
    record.cpu.add(cores, times: UInt32(clamping: periods))
    record.busy += now - start
    record.cpuPeak = max(record.cpuPeak, cores)
    if start - self.start <= Self.early { record.earlyCPU = max(record.earlyCPU, cores) }
    burst += used
    window = (now, last.usage)
  }

  private mutating func endBurst() {
    guard burst > 0 else { return }
    record.bursts.add(burst)
    record.longestBurst = max(record.longestBurst, burst)
    burst = 0
  }

  private mutating func note(memory: Int64, at now: Nanoseconds) {
    note(peak: memory)
    if now >= memorySecond.end {
      if memorySecond.end > 0 { record.memory.add(memorySecond.peak) }
      memorySecond = (now + Self.second, memory)
    } else {
      memorySecond.peak = max(memorySecond.peak, memory)
    }
  }
}
