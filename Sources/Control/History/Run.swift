// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// One run of a container: the records of its supervisors together.
package struct Run: Equatable, Sendable {
  /// What all of them saw; of figures that hold for one moment the largest.
  package private(set) var total: RunRecord

  private init(_ parts: [RunRecord]) {
    total = parts[0]
    for part in parts.dropFirst() { add(part) }
  }

  /// Groups records by run.
  ///
  /// - Parameter records: In the order in which they were written.
  /// - Returns: The runs, in the order in which they began.
  package static func all(of records: [RunRecord]) -> [Run] {
    var newest: [UInt64: [Nanoseconds: RunRecord]] = [:]
    // What a run begins with says nothing of it.
    for record in records where record.duration > 0 {
      newest[record.nonce, default: [:]][record.started] = record
    }
    return newest.values.map { parts in Run(parts.values.sorted { $0.started < $1.started }) }
      .sorted { ($0.total.started, $0.total.nonce) < ($1.total.started, $1.total.nonce) }
  }

  private mutating func add(_ part: RunRecord) {
    func sum(_ one: Int64, _ other: Int64) -> Int64 {
      let (sum, isTooMuch) = one.addingReportingOverflow(other)
      return isTooMuch ? .max : sum
    }
    func sum(_ one: UInt32, _ other: UInt32) -> UInt32 {
      let (sum, isTooMuch) = one.addingReportingOverflow(other)
      return isTooMuch ? .max : sum
    }
    total.isFinal = part.isFinal
    total.isSeenInQuarters = total.isSeenInQuarters && part.isSeenInQuarters
    total.written = max(total.written, part.written)
    // What is declared now.
    (total.declaredCPU, total.declaredMemory) = (part.declaredCPU, part.declaredMemory)
    total.duration = sum(total.duration, part.duration)
    total.usedCPU = sum(total.usedCPU, part.usedCPU)
    total.heldCPU = sum(total.heldCPU, part.heldCPU)
    total.heldMemory = sum(total.heldMemory, part.heldMemory)
    total.memoryPeak = max(total.memoryPeak, part.memoryPeak)
    total.cpuPeak = max(total.cpuPeak, part.cpuPeak)
    total.stalled = sum(total.stalled, part.stalled)
    total.throttledTime = max(total.throttledTime, part.throttledTime)
    total.busy = sum(total.busy, part.busy)
    total.longestBurst = max(total.longestBurst, part.longestBurst)
    total.events.raises = sum(total.events.raises, part.events.raises)
    total.events.returns = sum(total.events.returns, part.events.returns)
    total.events.throttles = sum(total.events.throttles, part.events.throttles)
    total.events.refusals = sum(total.events.refusals, part.events.refusals)
    total.events.memoryRaises = sum(total.events.memoryRaises, part.events.memoryRaises)
    total.events.memoryRefusals = sum(total.events.memoryRefusals, part.events.memoryRefusals)
    total.events.kills = max(total.events.kills, part.events.kills)
    for index in total.cpu.counts.indices {
      total.cpu.counts[index] = sum(total.cpu.counts[index], part.cpu.counts[index])
    }
    for index in total.bursts.counts.indices {
      total.bursts.counts[index] = sum(total.bursts.counts[index], part.bursts.counts[index])
    }
    for index in total.memory.counts.indices {
      total.memory.counts[index] = sum(total.memory.counts[index], part.memory.counts[index])
    }
  }
}
