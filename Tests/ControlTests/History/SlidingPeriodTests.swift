// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// What a container uses in each millisecond, and the looks of a supervisor at it.
private struct TimedLoad {
  /// CPU time used until the end of each millisecond.
  private var sums: [Nanoseconds] = [0]

  /// Requests at random, each worked off by one thread.
  init(requestsPerSecond rate: Double, work: Double, seconds: Int, seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var backlog: Nanoseconds = 0
    for _ in 0..<seconds * 1000 {
      if Double.random(in: 0..<1, using: &random) < rate / 1000 {
        backlog += Nanoseconds(Double.random(in: 0..<2 * work, using: &random) * Double(ms))
      }
      let use = min(ms, backlog)
      backlog -= use
      sums.append(sums[sums.count - 1] + use)
    }
  }

  /// Bursts of a length, on so many CPUs.
  init(bursts work: Int, every interval: Int, cpus: Int64, seconds: Int) {
    for moment in 0..<seconds * 1000 {
      let isBusy = moment % interval >= 37 && moment % interval < 37 + work
      sums.append(sums[sums.count - 1] + (isBusy ? cpus * ms : 0))
    }
  }

  /// The most of any 100 ms, in nanocores.
  var most: Int64 { (100..<sums.count).map { (sums[$0] - sums[$0 - 100]) * 10 }.max() ?? 0 }

  /// What a recorder says of it whose looks come at each quarter, or at each end of a period.
  func record(seesQuarters: Bool) -> RunRecord {
    var recorder = RunRecorder(
      RunRecord(nonce: 1, started: 0, period: 100 * ms),
      first: .init(time: 0, usage: 0, quota: 100 * ms), quietUse: ms, seesQuarters: seesQuarters)
    for moment in stride(from: 13, to: sums.count, by: seesQuarters ? 25 : 100) {
      recorder.note(.init(time: Int64(moment) * ms, usage: sums[moment], quota: 100 * ms))
    }
    recorder.end()
    recorder.complete { $0.written = 1 }
    return recorder.record
  }
}

@Suite struct SlidingPeriodTests {
  private static let random = (0..<20).map {
    TimedLoad(requestsPerSecond: 100, work: 3, seconds: 30, seed: UInt64($0))
  }

  @Test func `quarters bound the most of any period, and hardly more`() {
    for load in Self.random {
      let peak = load.record(seesQuarters: true).cpuPeak
      #expect(peak >= load.most)
      #expect(peak <= load.most + load.most / 5)
    }
  }

  @Test(arguments: [(30, 1), (30, 4), (90, 1), (200, 1), (230, 2)])
  func `what is known without quarters stays as it is`(burst: Int, cpus: Int64) {
    let load = TimedLoad(bursts: burst, every: 2500, cpus: cpus, seconds: 60)
    let (fine, coarse) = (load.record(seesQuarters: true), load.record(seesQuarters: false))
    #expect(load.most <= fine.cpuPeak && fine.cpuPeak <= cpus * 1_000_000_000)
    if burst < 100 { #expect(fine.cpuPeak == load.most) }
    #expect(fine.isSeenInQuarters && !coarse.isSeenInQuarters)
  }

  @Test func `a look that is late bounds nothing`() {
    var sliding = SlidingPeriod(period: 100 * ms, time: 0, usage: 0)
    for quarter in 1...8 { sliding.note(time: quarter.ms(25), usage: quarter.ms(5)) }
    #expect((20 * ms...25 * ms).contains(sliding.take()))
    sliding.note(time: 300 * ms, usage: 130 * ms)
    #expect(sliding.take() == 0)
  }

  @Test func `the limit covers the most of any period, seen in quarters or not`() throws {
    var uncovered = (fine: 0, coarse: 0)
    for load in Self.random {
      for seesQuarters in [true, false] {
        let runs = Run.all(of: [load.record(seesQuarters: seesQuarters)])
        let it = try #require(Recommendation(Profile(runs, now: 1)))
        #expect(it.evidence.isShifted == !seesQuarters)
        guard it.cpuLimit.target < load.most else { continue }
        if seesQuarters { uncovered.fine += 1 } else { uncovered.coarse += 1 }
      }
    }
    // Without quarters 15 % are added, which is usually enough.
    #expect(uncovered.fine == 0 && uncovered.coarse <= 5)
  }
}

extension Int {
  fileprivate func ms(_ factor: Int) -> Nanoseconds { Nanoseconds(self * factor) * 1_000_000 }
}
