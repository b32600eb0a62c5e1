// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let core: Int64 = 1_000_000_000

extension DemandTrace {
  /// Bursts of an equal length that begin at an interval.
  static func bursts(
    _ work: Nanoseconds, every interval: Nanoseconds, for duration: Nanoseconds, cpus: Int64 = 1
  ) -> DemandTrace {
    var trace = DemandTrace(step: 25 * ms)
    for start in stride(from: 0, to: duration, by: Int64.Stride(interval)) {
      var left = work
      var time = start
      while left > 0 {
        trace.pieces.append(Piece(start: time, use: min(left, 25 * cpus * ms)))
        left -= min(left, 25 * cpus * ms)
        time += 25 * ms
      }
    }
    trace.duration = duration
    return trace
  }
}

@Suite struct ReplayTests {
  @Test func `without a limit nothing is throttled, and a burst takes what it takes`() throws {
    for cpus in [Int64(1), 2, 4] {
      let trace = DemandTrace.bursts(80 * cpus * ms, every: 1000 * ms, for: 60_000 * ms, cpus: cpus)
      let replay = Replay(trace)
      let outcome = replay.outcome(of: .init(limit: replay.most))
      #expect(outcome.throttled == 0 && outcome.bursts.count == 60 * outcome.phases)
      // The rest of a burst may be on fewer CPUs than the burst.
      #expect((80 * ms...100 * ms).contains(try #require(outcome.burst(0.5))))
    }
  }

  @Test func `under a limit a burst waits for the next period, as the kernel has it`() throws {
    let trace = DemandTrace.bursts(30 * ms, every: 1000 * ms, for: 600_000 * ms)
    // 10 ms a period: three periods' worth, so that two refills are waited for, or the first part.
    let outcome = Replay(trace).outcome(of: .init(limit: core / 10))
    let half = try #require(outcome.burst(0.5))
    #expect((140 * ms...250 * ms).contains(half))
    // 600 bursts with about two waits of 90 ms each.
    #expect((60_000 * ms...140_000 * ms).contains(outcome.throttled))
    let ample = Replay(trace).outcome(of: .init(limit: 4 * core / 10))
    #expect(ample.throttled == 0 && ample.burst(0.99) == 30 * ms)
    #expect(ample.slack > 0)
  }

  @Test func `steps from event to event are the steps of a tenth of a millisecond`() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<40 {
      let cpus = Int.random(in: 1...4, using: &random)
      let quota = Nanoseconds.random(in: 5...(100 * Int64(cpus)), using: &random) * ms
      var arrivals: [(time: Nanoseconds, cpu: Int, work: Nanoseconds)] = []
      var time: Nanoseconds = 0
      while time < 3000 * ms {
        time += Nanoseconds.random(in: 1...1500, using: &random) * ms / 10
        arrivals.append(
          (
            time, Int.random(in: 0..<cpus, using: &random),
            Nanoseconds.random(in: 1...900, using: &random) * ms / 10
          ))
      }
      func simulation() -> LimitSimulation {
        LimitSimulation(
          nil, quota: quota, floor: ms, ceiling: quota, cpus: cpus, phase: 37 * ms)
      }
      var (slow, fast) = (simulation(), simulation())
      var next = 0
      slow.run(4000 * ms) { now, backlog in
        while next < arrivals.count, arrivals[next].time <= now {
          backlog[arrivals[next].cpu] += arrivals[next].work
          next += 1
        }
      }
      for arrival in arrivals {
        fast.run(until: arrival.time)
        fast.backlog[arrival.cpu] += arrival.work
      }
      fast.run(until: 4000 * ms)
      #expect(fast.kernel.used == slow.kernel.used)
      #expect(fast.kernel.throttled == slow.kernel.throttled)
      #expect(fast.backlog == slow.backlog)
      #expect(abs(fast.slack - slow.slack) < ms)
    }
  }

  @Test func `one thread in one call is the same thread from tick to tick, to the nanosecond`() {
    var random = SeededGenerator(seed: 13)
    for _ in 0..<60 {
      let quota = Nanoseconds.random(in: 2...110, using: &random) * ms
      let phase = Nanoseconds.random(in: 0...999, using: &random) * ms / 10
      var slow = BandwidthModel(quota: quota, period: 100 * ms, phase: phase, cpus: 1)
      var fast = slow
      for _ in 0..<400 {
        let work = Nanoseconds.random(in: 0...900, using: &random) * ms / 10
        let end = slow.time + Nanoseconds.random(in: 1...1500, using: &random) * ms / 10
        var left = work
        while slow.time < end, left > 0 {
          if slow.run(1).ran == 1 { left -= BandwidthModel.step }
        }
        #expect(fast.run(alone: work, until: end) == left)
        if Bool.random(using: &random) {
          while slow.time < end { _ = slow.run(0) }
          fast.rest(until: end)
        }
        #expect(slow.cpus == fast.cpus && slow.periodEnd == fast.periodEnd)
        #expect(slow.throttled == fast.throttled && slow.usage == fast.usage)
        #expect(slow.time == fast.time && slow.used == fast.used)
      }
    }
  }

  @Test func `a burst that goes on in the next step begins late in its own`() throws {
    var trace = DemandTrace(step: 25 * ms)
    for start in stride(from: Nanoseconds(0), to: 60_000 * ms, by: 1000 * 1_000_000) {
      trace.pieces.append(.init(start: start, use: 10 * ms))
      trace.pieces.append(.init(start: start + 25 * ms, use: 20 * ms))
    }
    trace.duration = 60_000 * ms
    let replay = Replay(trace)
    #expect(replay.outcome(of: .init(limit: core)).burst(0.99) == 30 * ms)
  }

  @Test func `a short trace is tried at several phases, a long one needs none`() {
    let trace = DemandTrace.bursts(30 * ms, every: 500 * ms, for: 12_000 * ms)
    let replay = Replay(trace)
    let candidate = Replay.Candidate(limit: core / 10)
    let each = (0..<8).map {
      replay.outcome(of: candidate, phase: 37 * ms + Nanoseconds($0) * 12_500_000)
    }
    let all = replay.outcome(of: candidate)
    #expect(all.phases == 8 && all.bursts.count == each.reduce(0) { $0 + $1.bursts.count })
    #expect(all.throttled == each.reduce(0) { $0 + $1.throttled } / 8)
    // Where the bursts lie in the kernel's periods matters.
    #expect(Set(each.map { $0.throttled }).count > 1)
    let long = DemandTrace.bursts(30 * ms, every: 500 * ms, for: 700_000 * ms)
    #expect(Replay(long).outcome(of: candidate).phases == 1)
  }

  @Test func `a law that follows demand throttles less than its own mean as a static limit`() throws
  {
    let trace = DemandTrace.bursts(200 * ms, every: 2000 * ms, for: 120_000 * ms)
    let replay = Replay(trace)
    let reactive = replay.outcome(
      of: .init(law: .headroom(.standard), limit: core, bounds: (core / 20, 2 * core)))
    let mean =
      (trace.pieces.reduce(0) { $0 + $1.use } + reactive.slack) / ms * core / (trace.duration / ms)
    let fixed = replay.outcome(of: .init(limit: mean))
    #expect(reactive.throttled < fixed.throttled / 5)
    #expect(try #require(reactive.burst(0.99)) < #require(fixed.burst(0.5)))
    #expect(reactive.limits.count > 100)
  }

  @Test func `more limit never means more throttling, and all work is done`() {
    var random = SeededGenerator(seed: 12)
    for _ in 0..<20 {
      let cpus = Int64.random(in: 1...3, using: &random)
      let trace = DemandTrace.bursts(
        .random(in: 5...300, using: &random) * cpus * ms,
        every: .random(in: 40...80, using: &random) * 25 * ms, for: 60_000 * ms, cpus: cpus)
      var last = Nanoseconds.max / 2
      for limit in [core / 5, core / 2, core, 2 * core, 4 * core] {
        let outcome = Replay(trace).outcome(of: .init(limit: limit))
        #expect(outcome.throttled <= last + 100 * ms)
        last = outcome.throttled
      }
      #expect(last == 0)
    }
  }
}

@Suite struct RecommendationTests {
  private func run(
    _ bursts: [Nanoseconds], every interval: Nanoseconds, memory: Int64 = 60 << 20, ended: Int64 = 0
  ) -> Run {
    var recorder = RunRecorder(
      RunRecord(nonce: UInt64(bursts.count + Int(memory)), started: 0, period: 100 * ms),
      first: .init(time: 0, usage: 0, quota: 100 * ms), quietUse: ms)
    var (time, usage): (Nanoseconds, Nanoseconds) = (0, 0)
    func look() { recorder.note(.init(time: time, usage: usage, quota: 100 * ms)) }
    time += ms
    look()
    for burst in bursts {
      time += interval
      look()
      var left = burst
      while left > 0 {
        // The look that the first use calls for, then one at each period's end.
        time += left == burst ? ms : 100 * ms
        usage += min(left, left == burst ? ms : 100 * ms)
        left -= min(left, left == burst ? ms : 100 * ms)
        look()
      }
      time += 200 * ms
      look()
    }
    recorder.note(peak: memory)
    recorder.end()
    recorder.complete {
      $0.written = ended
      $0.isFinal = true
    }
    return Run.all(of: [recorder.record])[0]
  }

  @Test func `the limit is what busy periods need, and the request what is used on average`() throws
  {
    let runs = [run(Array(repeating: 30 * ms, count: 500), every: 800 * ms)]
    let it = try #require(Recommendation(Profile(runs, now: 0)))
    #expect((300_000_000...350_000_000).contains(it.cpuLimit.target))
    #expect((25_000_000...45_000_000).contains(it.cpuRequest))
    #expect(it.evidence.periodsAbove == 0 && it.cpuLimit.lower <= it.cpuLimit.target)
    #expect(it.cpuLimit.upper >= it.cpuLimit.target)
    let wait = try #require(it.evidence.wait)
    #expect(wait.limit < it.cpuLimit.target && wait.time > 50 * ms)
    #expect(it.memoryLimit.target == 69 << 20)
  }

  @Test func `what the declared limit has cut is recommended twice`() throws {
    var record = run(Array(repeating: 300 * ms, count: 50), every: 800 * ms).total
    record.isObserved = true
    let free = try #require(Recommendation(Profile(Run.all(of: [record]), now: 0)))
    record.throttledTime = record.busy / 2
    let cut = try #require(Recommendation(Profile(Run.all(of: [record]), now: 0)))
    #expect(cut.evidence.isCensored && !free.evidence.isCensored)
    #expect(cut.cpuLimit.target >= free.cpuLimit.target * 3 / 2)
    record.events.kills = 1
    let killed = try #require(Recommendation(Profile(Run.all(of: [record]), now: 0)))
    #expect(killed.memoryLimit.target >= free.memoryLimit.target + 100 << 20)
  }

  @Test func `a profile that was never busy, or has no run, says nothing`() {
    #expect(Recommendation(Profile([], now: 0)) == nil)
    #expect(Recommendation(Profile([run([], every: ms)], now: 0)) == nil)
  }

  @Test func `first limits are predicted from five runs, and what is old counts less`() throws {
    let day: Nanoseconds = 86_400_000_000_000
    let runs = (0..<4).map {
      run([30 * ms], every: 800 * ms, memory: 60 << 20 + Int64($0), ended: 100 * day)
    }
    func predicted(_ runs: [Run]) -> Prediction? {
      Prediction(Profile(runs, now: 100 * day), now: 100 * day)
    }
    #expect(predicted(runs) == nil)
    let old = run([90 * ms], every: 800 * ms, memory: 300 << 20, ended: 0)
    let fresh = run([90 * ms], every: 800 * ms, memory: 300 << 20, ended: 99 * day)
    let forgotten = try #require(predicted([old] + runs))
    #expect(try #require(forgotten.memory) < 70 << 20 && forgotten.cpu < 400_000_000)
    let remembered = try #require(predicted(runs + [fresh]))
    #expect(try #require(remembered.memory) >= 300 << 20 && remembered.cpu > 900_000_000)
  }

  @Test(arguments: [(30, 10, 180), (30, 40, 0), (60, 40, 60), (200, 50, 150)])
  func `a burst's delay is the refills that it waits for`(burst: Int64, limit: Int64, delay: Int64)
  {
    // Of a burst of 30 at 10 ms a period: 10 at once, 10 at 100, 10 at 200 ms; 30 were it free.
    let found = Recommendation.delay(
      of: burst * ms, under: limit * core / 100, pace: core, period: 100 * ms)
    #expect(found == delay * ms)
  }
}
