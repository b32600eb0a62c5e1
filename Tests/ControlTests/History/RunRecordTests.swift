// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control

extension RunRecord {
  /// A record with any figures that may be in one.
  static func random(_ random: inout SeededGenerator) -> RunRecord {
    func figure() -> Int64 { Int64.random(in: 0...(1 << 54), using: &random) }
    var record = RunRecord(
      nonce: random.next(), started: figure(),
      period: Int64.random(in: 1_000_000...1_000_000_000, using: &random))
    record.isFinal = Bool.random(using: &random)
    record.isObserved = Bool.random(using: &random)
    record.isSeenInQuarters = Bool.random(using: &random)
    (record.written, record.duration, record.declaredCPU) = (figure(), figure(), figure())
    (record.declaredMemory, record.usedCPU, record.heldCPU) = (figure(), figure(), figure())
    (record.heldMemory, record.memoryPeak, record.earlyMemory) = (figure(), figure(), figure())
    (record.cpuPeak, record.earlyCPU, record.stalled) = (figure(), figure(), figure())
    (record.throttledTime, record.busy, record.longestBurst) = (figure(), figure(), figure())
    record.events.raises = .random(in: 0...(.max), using: &random)
    record.events.returns = .random(in: 0...9, using: &random)
    record.events.throttles = .random(in: 0...(.max), using: &random)
    record.events.refusals = .random(in: 0...9, using: &random)
    record.events.memoryRaises = .random(in: 0...9, using: &random)
    record.events.memoryRefusals = .random(in: 0...9, using: &random)
    record.events.kills = .random(in: 0...9, using: &random)
    for _ in 0..<20 {
      record.cpu.add(figure(), times: .random(in: 0...(.max), using: &random))
      record.bursts.add(figure() >> 10)
      record.memory.add(figure() >> 10)
    }
    return record
  }

  var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.size)
    bytes.withUnsafeMutableBytes { encode(into: $0) }
    return bytes
  }
}

@Suite struct RunRecordTests {
  @Test func `a record reads back from 1 KiB`() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<500 {
      let record = RunRecord.random(&random)
      let (records, isDamaged) = RunRecord.all(in: record.bytes)
      #expect(records == [record] && !isDamaged && record.bytes.count == 1024)
    }
  }

  @Test func `each byte counts`() {
    var random = SeededGenerator(seed: 2)
    let bytes = RunRecord.random(&random).bytes
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x10
      #expect(RunRecord.all(in: damaged).records.isEmpty, "byte \(index)")
      #expect(RunRecord.all(in: damaged).isDamaged)
    }
  }

  @Test func `of torn writes the whole records are found, wherever they were torn`() {
    var random = SeededGenerator(seed: 3)
    let records = (0..<3).map { _ in RunRecord.random(&random) }
    for length in stride(from: 0, to: 1024, by: 7) {
      let bytes = records[0].bytes + records[1].bytes.prefix(length) + records[2].bytes
      let (found, isDamaged) = RunRecord.all(in: bytes)
      #expect(found == [records[0], records[2]] && isDamaged == (length > 0))
      // A crash in the middle of the last write: the old records, and nothing else.
      #expect(
        RunRecord.all(in: records[0].bytes + records[1].bytes.prefix(length)).records.count == 1)
    }
  }

  @Test func `any bytes are records that can be concluded from, or none`() {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<3000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        var part = RunRecord.random(&random).bytes
        for _ in 0..<Int.random(in: 0...2, using: &random) {
          part[Int.random(in: part.indices, using: &random)] = .random(in: 0...255, using: &random)
        }
        bytes += part.dropLast(Bool.random(using: &random) ? 0 : 9)
      }
      let runs = Run.all(of: RunRecord.all(in: bytes).records)
      _ = Recommendation(Profile(runs, now: 1 << 40))
      var needs = EarlyNeeds()
      needs.add(bytes)
      #expect(needs.runs.count == runs.count)
      _ = Prediction(needs, now: 0)
    }
  }

  @Test func `what is predicted from the first figures alone is what whole runs say`() {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<300 {
      var records: [RunRecord] = []
      for index in 0..<Int64.random(in: 0...40, using: &random) {
        var record = RunRecord.random(&random)
        record.nonce = .random(in: 0...12, using: &random)
        record.started = .random(in: 0...2, using: &random)
        record.written = 1_000_000_000_000_000 * index
        if Bool.random(using: &random) { record.duration = 0 }
        records.append(record)
      }
      let now: Int64 = 45_000_000_000_000_000
      var needs = EarlyNeeds()
      needs.add(records.flatMap(\.bytes))
      let profile = Profile(Run.all(of: records), now: now)
      #expect(Prediction(needs, now: now) == Prediction(profile, now: now))
      #expect(!needs.isDamaged)
    }
  }

  @Test func `the later record of a run counts, and several supervisors are one run`() {
    var first = RunRecord(nonce: 7, started: 10, period: 100_000_000)
    (first.written, first.usedCPU, first.memoryPeak) = (20, 5, 100)
    first.duration = 10
    var later = first
    (later.written, later.usedCPU, later.memoryPeak) = (30, 6, 300)
    var next = RunRecord(nonce: 7, started: 40, period: 100_000_000)
    (next.written, next.usedCPU, next.memoryPeak, next.isFinal) = (50, 3, 200, true)
    next.duration = 10
    var other = RunRecord(nonce: 8, started: 15, period: 100_000_000)
    other.duration = 1
    let begun = RunRecord(nonce: 9, started: 15, period: 100_000_000)
    let runs = Run.all(of: [first, later, begun, other, next])
    #expect(runs.map(\.total.nonce) == [7, 8])
    #expect(runs[0].total.usedCPU == 9 && runs[0].total.memoryPeak == 300)
    #expect(runs[0].total.isFinal && runs[0].total.written == 50)
  }
}

@Suite struct HistogramTests {
  @Test(arguments: [Histogram.Scale.cpu, .burst, .memory])
  func `bounds grow, and a value is at or below its bucket's bound and above the one before`(
    scale: Histogram.Scale
  ) {
    var random = SeededGenerator(seed: 5)
    let bounds = (0..<scale.count).map { scale.bound($0) }
    #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 })
    for _ in 0..<2000 {
      let value = Int64.random(in: 0...bounds[scale.count - 1], using: &random)
      let bucket = scale.bucket(of: value)
      #expect(value <= bounds[bucket] && (bucket == 0 || value > bounds[bucket - 1]))
    }
    #expect(scale.bucket(of: .max) == scale.count - 1)
  }

  @Test func `percentiles lie in the data, grow with the part, and follow the weight`() {
    var random = SeededGenerator(seed: 6)
    for _ in 0..<200 {
      var all = WeightedHistogram(.cpu)
      var values: [Int64] = []
      for _ in 0..<Int.random(in: 1...50, using: &random) {
        let value = Int64.random(in: 1...(1 << 36), using: &random)
        values.append(value)
        all.add(value, weight: 1)
      }
      values.sort()
      var last: Int64 = 0
      for part in stride(from: 0.05, through: 1, by: 0.05) {
        let found = all.percentile(part) ?? 0
        let exact = values[
          min(values.count - 1, max(0, Int((part * Double(values.count) - 1e-9).rounded(.up)) - 1))]
        #expect(found >= last && found >= exact)
        #expect(found <= exact + exact / 10 + 10_000_000)
        last = found
      }
      #expect(all.share(above: 1 << 40) == 0)
    }
  }
}
