// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// A load under a recorder whose looks come as a supervisor's do: at the start of a burst, at the end
/// of each period, and never while nothing happens.
private struct Recording {
  var recorder: RunRecorder
  private var (time, usage): (Nanoseconds, Nanoseconds) = (0, 0)
  private let quota: Nanoseconds

  init(quota: Nanoseconds = 50 * ms) {
    self.quota = quota
    recorder = RunRecorder(
      RunRecord(nonce: 1, started: 0, period: 100 * ms),
      first: .init(time: 0, usage: 0, quota: quota), quietUse: ms)
  }

  mutating func wait(_ span: Nanoseconds) { time += span }

  mutating func look(used: Nanoseconds, memory: Int64? = nil) {
    usage += used
    recorder.note(.init(time: time, usage: usage, quota: quota, memory: memory))
  }

  /// CPU time on so many CPUs, then quiet.
  mutating func burst(_ work: Nanoseconds, cpus: Int64 = 1) {
    wait(2 * ms)
    look(used: min(work, 2 * ms))
    var left = work - min(work, 2 * ms)
    while left > 0 {
      wait(100 * ms)
      look(used: min(left, 100 * cpus * ms))
      left -= min(left, 100 * cpus * ms)
    }
    wait(100 * ms)
    look(used: 0)
    wait(100 * ms)
    look(used: 0)
  }
}

@Suite struct RunRecorderTests {
  @Test func `a short burst is one busy period of what it used, and one burst`() {
    var recording = Recording()
    for _ in 0..<20 {
      recording.wait(1000 * ms)
      recording.burst(30 * ms)
    }
    recording.recorder.end()
    let record = recording.recorder.record
    #expect(record.cpu.counts.reduce(0, +) == 20)
    let bucket = Histogram.Scale.cpu.bucket(of: 300_000_000)
    #expect(record.cpu.counts[bucket] == 20)
    #expect(record.bursts.counts[Histogram.Scale.burst.bucket(of: 30 * ms)] == 20)
    #expect(record.longestBurst == 30 * ms && record.usedCPU == 600 * ms)
    #expect(record.cpuPeak == 300_000_000 && record.earlyCPU == 300_000_000)
  }

  @Test(arguments: [Int64(1), 2, 8])
  func `a long burst is as many busy periods as it takes, at its pace`(cpus: Int64) {
    var recording = Recording()
    recording.wait(500 * ms)
    recording.burst(1000 * cpus * ms, cpus: cpus)
    recording.recorder.end()
    let record = recording.recorder.record
    let counted = record.cpu.counts.reduce(0, +)
    #expect((9...12).contains(counted))
    #expect(record.cpuPeak <= cpus * 1_050_000_000 && record.cpuPeak >= cpus * 950_000_000)
    #expect(record.longestBurst == 1000 * cpus * ms)
  }

  @Test func `a trickle is used time, and no busy period`() {
    var recording = Recording()
    for _ in 0..<50 {
      recording.wait(10_000 * ms)
      recording.look(used: ms / 10)
      recording.wait(100 * ms)
      recording.look(used: 0)
    }
    recording.recorder.end()
    #expect(recording.recorder.record.cpu.counts.allSatisfy { $0 == 0 })
    #expect(recording.recorder.record.usedCPU == 5 * ms)
    #expect(recording.recorder.record.busy == 0)
  }

  @Test func `what is held is the limit over time, idle or not`() {
    var recording = Recording(quota: 50 * ms)
    recording.wait(60_000 * ms)
    recording.look(used: 0)
    #expect(recording.recorder.record.heldCPU == 30_000 * ms)
    #expect(recording.recorder.record.duration == 60_000 * ms)
  }

  @Test func `memory is counted once a busy second, and its first peak is told apart`() {
    var recording = Recording()
    for index in 0..<300 {
      recording.wait(100 * ms)
      recording.look(used: 50 * ms, memory: Int64(index) << 20)
    }
    recording.recorder.note(peak: 400 << 20)
    recording.recorder.end()
    let record = recording.recorder.record
    #expect((28...31).contains(record.memory.counts.reduce(0, +)))
    #expect(record.memoryPeak == 400 << 20)
    #expect((95...101).contains(record.earlyMemory >> 20))
  }

  /// Whatever is read, and when: nothing overflows, and what is counted adds up.
  @Test func `any readings make a record that reads back`() {
    var random = SeededGenerator(seed: 8)
    for _ in 0..<300 {
      var recording = Recording(quota: .random(in: 0...(1 << 33), using: &random))
      for _ in 0..<100 {
        recording.wait(
          .random(in: 0...(1 << Int64.random(in: 10...40, using: &random)), using: &random))
        recording.look(
          used: .random(in: -5...(1 << Int64.random(in: 4...40, using: &random)), using: &random),
          memory: Bool.random(using: &random) ? .random(in: 0...(1 << 45), using: &random) : nil)
      }
      recording.recorder.end()
      let record = recording.recorder.record
      #expect(RunRecord.all(in: record.bytes).records == [record])
      #expect(record.longestBurst <= record.usedCPU && record.busy <= record.duration + 1)
    }
  }
}

@Suite struct DemandTraceTests {
  @Test func `what was used is in the trace, to half a millisecond, where it was used`() throws {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<50 {
      var recorder = TraceRecorder(period: 100 * ms, now: 1000, wallClock: 1 << 60, usage: 0)
      var (now, usage): (Nanoseconds, Nanoseconds) = (1000, 0)
      var bytes: [UInt8] = []
      for _ in 0..<3000 {
        let isIdle = UInt8.random(in: 0..<10, using: &random) == 0
        now += isIdle ? .random(in: 0...100_000 * ms, using: &random) : 25 * ms
        usage += .random(in: 0...60 * ms, using: &random)
        if let block = recorder.note(usage, at: now) { bytes += block }
      }
      if let block = recorder.end() { bytes += block }
      let trace = try #require(DemandTrace(decoding: bytes))
      #expect(!trace.isDamaged && trace.step == 25 * ms && trace.period == 100 * ms)
      #expect(abs(trace.pieces.reduce(0) { $0 + $1.use } - usage) <= ms / 2 + 1)
      #expect(trace.pieces.allSatisfy { $0.start % trace.step == 0 && $0.use > 0 })
      #expect(abs(trace.duration - (now - 1000)) <= 2 * trace.step)
      #expect(bytes.count < 3000 * 5)
      // A block that was torn costs itself alone.
      let torn = DemandTrace(decoding: Array(bytes.dropFirst(100)))
      #expect(torn == nil || torn?.isDamaged == true)
    }
  }

  @Test func `a trace ends where it may be no longer`() {
    var recorder = TraceRecorder(period: 100 * ms, now: 0, wallClock: 0, usage: 0)
    var size = 0
    for step in 1...1_500_000 {
      size += recorder.note(Int64(step) * 20 * ms, at: Int64(step) * 25 * ms)?.count ?? 0
    }
    #expect(recorder.isFull && size <= TraceRecorder.most + 1024)
  }

  @Test func `any bytes are a trace that can be replayed, or none`() {
    var random = SeededGenerator(seed: 10)
    for _ in 0..<200 {
      let payload = (0..<Int.random(in: 0...60, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      let words: [UInt64] = [
        UInt64(DemandTrace.magic) | 1 << 32 | UInt64(payload.count) << 48, 5, 25_000_000, 0,
      ]
      let sum = DemandTrace.checksum(words, payload[...])
      let bytes = (words + [sum]).flatMap { word in
        (0..<8).map { UInt8(word >> UInt64(8 * $0) & 255) }
      }
      #expect(DemandTrace(decoding: bytes + payload) != nil)
      #expect(DemandTrace(decoding: payload) == nil)
    }
  }
}
