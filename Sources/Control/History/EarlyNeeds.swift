// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// What the runs of a profile needed in their first seconds: all that a prediction is made of.
///
/// It is read whenever a container of the profile starts, so nothing else of a record is decoded.
package struct EarlyNeeds: Equatable, Sendable {
  /// What one run needed.
  package struct Need: Equatable, Sendable {
    /// The instance of the container.
    package var nonce: UInt64
    /// When its first supervisor began, on the wall clock.
    var started: Nanoseconds
    /// When its last record was written, on the wall clock.
    var written: Nanoseconds
    /// The most CPU of a period, in nanocores.
    var cpu: Int64
    /// The most memory, in bytes.
    var memory: Int64
  }

  /// One for each run, in no order.
  package private(set) var runs: [Need] = []
  /// Whether some of the bytes were no record.
  package private(set) var isDamaged = false

  /// Nothing is known.
  package init() {}

  /// Takes runs that were read whole.
  init(_ profile: Profile) {
    runs = profile.runs.map { run in
      let record = run.total
      return Need(
        nonce: record.nonce, started: record.started, written: record.written,
        cpu: record.earlyCPU, memory: record.earlyMemory)
    }
  }

  /// Adds a segment, or whole records of one.
  ///
  /// - Parameter bytes: Any bytes.
  package mutating func add(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
      var place = 0
      while place + RunRecord.size <= buffer.count {
        let rest = UnsafeRawBufferPointer(rebasing: buffer[place..<place + RunRecord.size])
        if RunRecord.isRecord(rest) {
          note(rest)
          place += RunRecord.size
        } else {
          isDamaged = true
          place += 1
        }
      }
      if place < buffer.count { isDamaged = true }
    }
  }

  /// Takes note of a record, which takes the place of an earlier one of the same supervisor.
  ///
  /// Of a run with several supervisors the first one saw the beginning.
  private mutating func note(_ record: UnsafeRawBufferPointer) {
    func figure(_ index: Int) -> Int64 { Int64(bitPattern: RunRecord.word(index, of: record)) }
    // What a run begins with says nothing of it.
    guard figure(RunRecord.Word.duration) > 0 else { return }
    let found = Need(
      nonce: RunRecord.word(RunRecord.Word.nonce, of: record),
      started: figure(RunRecord.Word.started), written: figure(RunRecord.Word.written),
      cpu: figure(RunRecord.Word.earlyCPU), memory: figure(RunRecord.Word.earlyMemory))
    var index = runs.count - 1
    while index >= 0, runs[index].nonce != found.nonce { index -= 1 }
    guard index >= 0 else { return runs.append(found) }
    let (known, written) = (runs[index], max(runs[index].written, found.written))
    let isLater = found.started == known.started && found.written >= known.written
    if found.started < known.started || isLater { runs[index] = found }
    runs[index].written = written
  }

  /// A percentile of a figure, each run with its weight, as ``Profile`` has it.
  func percentile(_ part: Double, now: Nanoseconds, of figure: (Need) -> Int64) -> Int64? {
    // Arrays of numbers, because those of other types are looked up at run time.
    var order: [Int] = []
    var (values, weights): ([Int64], [Double]) = ([], [])
    var total = 0.0
    for run in runs {
      let weight = Profile.weight(age: now - min(run.written, now))
      total += weight
      order.append(order.count)
      values.append(figure(run))
      weights.append(weight)
    }
    order.sort { values[$0] < values[$1] }
    var sum = 0.0
    for index in order {
      sum += weights[index]
      if sum >= part * total * (1 - 1e-12) { return values[index] }
    }
    return order.last.map { values[$0] }
  }
}
