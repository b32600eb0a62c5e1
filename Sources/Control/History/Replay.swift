// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What would have happened to a traced container under another limit, or another law.
///
/// Demand is what the container used, and comes when it came; under a limit it is worked off later.
package struct Replay {
  /// What is tried.
  package struct Candidate: Equatable, Sendable {
    /// The law that moves the limit; nil for a limit that stays.
    package var law: ControlLaw.Parameters?
    /// The limit at the start, and for ever without a law, in nanocores.
    package var limit: Int64
    /// What a law moves it between, in nanocores.
    package var bounds: (floor: Int64, ceiling: Int64)

    /// Makes a candidate.
    package init(
      law: ControlLaw.Parameters? = nil, limit: Int64, bounds: (floor: Int64, ceiling: Int64)? = nil
    ) {
      self.law = law
      self.limit = limit
      self.bounds = bounds ?? (limit, limit)
    }

    /// Whether both are the same candidate.
    package static func == (one: Candidate, other: Candidate) -> Bool {
      (one.law, one.limit) == (other.law, other.limit) && one.bounds == other.bounds
    }
  }

  /// What came of it.
  package struct Outcome: Sendable {
    /// How long CPUs were throttled, each counted.
    package var throttled: Nanoseconds = 0
    /// CPU time that the limit allowed and that was not used.
    package var slack: Nanoseconds = 0
    /// The time that was replayed.
    package var duration: Nanoseconds = 0
    /// How long each burst took, the shortest first, at each phase that was tried.
    package var bursts: [Nanoseconds] = []
    /// How many phases of the kernel's periods were tried; other figures are means over them.
    package var phases = 1
    /// The limit from a moment on, in nanocores, at the first of the phases.
    package var limits: [(time: Nanoseconds, limit: Int64)] = []

    /// A percentile of the bursts; nil where there is none.
    package func burst(_ part: Double) -> Nanoseconds? {
      bursts.isEmpty ? nil : bursts[min(bursts.count - 1, Int(part * Double(bursts.count)))]
    }
  }

  private static let core: Int64 = 1_000_000_000
  private let trace: DemandTrace
  /// How many CPUs it ran on at once, at the most.
  private let cpus: Int

  /// Replays a trace.
  package init(_ trace: DemandTrace) {
    self.trace = trace
    let most = trace.pieces.reduce(0) { max($0, $1.use) }
    cpus = min(64, max(1, Int((most + trace.step - 1) / trace.step)))
  }

  /// The most that it can use, in nanocores: no limit of CPUs is more than that.
  package var most: Int64 { Int64(cpus) * Self.core }

  private func whole(_ time: Nanoseconds) -> Nanoseconds {
    time / BandwidthModel.step * BandwidthModel.step
  }

  /// In how many parts the use of a step comes that is one of many that are not full.
  private static let parts: Int64 = 4

  /// Whether a step is not full, and neither are those before and behind it: its work did not come at
  /// once, as that of a burst does.
  private func isTrickle(_ index: Int) -> Bool {
    func isPartial(_ other: Int, _ start: Nanoseconds) -> Bool {
      guard trace.pieces.indices.contains(other) else { return false }
      return trace.pieces[other].start == start && trace.pieces[other].use < trace.step / 10 * 9
    }
    let start = trace.pieces[index].start
    return isPartial(index, start) && isPartial(index - 1, start - trace.step)
      && isPartial(index + 1, start + trace.step)
  }

  /// The work of the pieces from one on that follow each other.
  private func burst(from first: Int) -> Nanoseconds {
    var work = trace.pieces[first].use
    var next = first + 1
    while next < trace.pieces.count,
      trace.pieces[next].start == trace.pieces[next - 1].start + trace.step
    {
      work += trace.pieces[next].use
      next += 1
    }
    return whole(work)
  }

  /// How many phases of the kernel's periods are tried of a trace that is short, and what is short.
  private static let phases: Int64 = 8
  private static let short: Nanoseconds = 600_000_000_000

  /// Tries a candidate.
  ///
  /// A group's periods begin at a random moment, which it keeps (init_cfs_bandwidth()). What that
  /// matters to a short trace is evened out by trying several.
  package func outcome(of candidate: Candidate) -> Outcome {
    let period = trace.period
    // No period of the kernel's begins with a burst.
    let first = period * 37 / 100
    var sum = outcome(of: candidate, phase: first)
    guard trace.duration <= Self.short else { return sum }
    for index in 1..<Self.phases {
      let next = outcome(of: candidate, phase: first + period * index / Self.phases)
      sum.throttled += next.throttled
      sum.slack += next.slack
      sum.duration += next.duration
      sum.bursts += next.bursts
    }
    sum.throttled /= Self.phases
    sum.slack /= Self.phases
    sum.duration /= Self.phases
    sum.bursts.sort()
    sum.phases = Int(Self.phases)
    return sum
  }

  /// For how long the first piece of a burst waits: its work goes on in the next step, so it ends with
  /// its own.
  private func offset(of index: Int) -> Nanoseconds {
    let piece = trace.pieces[index]
    guard index + 1 < trace.pieces.count,
      trace.pieces[index + 1].start == piece.start + trace.step
    else { return 0 }
    return whole(max(0, trace.step - piece.use))
  }

  /// Tries a candidate where the kernel's periods begin at a moment.
  ///
  /// - Parameters:
  ///   - candidate: What is tried.
  ///   - phase: When a period begins, since the trace began.
  /// - Returns: What came of it.
  package func outcome(of candidate: Candidate, phase: Nanoseconds) -> Outcome {
    let period = trace.period
    func quota(_ cores: Int64) -> Nanoseconds {
      max(1_000_000, CFSBandwidth.scaled(cores, by: period, over: Self.core))
    }
    var simulation = LimitSimulation(
      candidate.law, quota: quota(candidate.limit), floor: quota(candidate.bounds.floor),
      ceiling: quota(candidate.bounds.ceiling), cpus: cpus, period: period,
      phase: phase, hook: .seeing)
    var outcome = Outcome()
    /// Bursts that have begun: when, and how much has to be used until each has ended.
    var open: [(start: Nanoseconds, target: Nanoseconds)] = []
    var (arrived, carried): (Nanoseconds, Nanoseconds) = (0, 0)

    func run(until end: Nanoseconds) {
      while let burst = open.first, simulation.kernel.time < end {
        simulation.run(until: end, untilUsed: burst.target)
        guard simulation.kernel.used >= burst.target else { return }
        outcome.bursts.append(simulation.kernel.time - burst.start)
        open.removeFirst()
      }
      simulation.run(until: end)
    }

    for (index, piece) in trace.pieces.enumerated() {
      let isFirst = index == 0 || piece.start > trace.pieces[index - 1].start + trace.step
      let start = piece.start + (isFirst ? offset(of: index) : 0)
      run(until: start)
      if isFirst { open.append((start, arrived + burst(from: index))) }
      // What is no whole step of the model's is the next piece's.
      let work = whole(piece.use + carried)
      carried += piece.use - work
      let parts = isTrickle(index) ? Self.parts : 1
      for part in 0..<parts {
        if part > 0 { run(until: piece.start + trace.step * part / Self.parts) }
        let share = whole(work * (part + 1) / parts) - whole(work * part / parts)
        simulation.backlog.add(share, within: trace.step)
        arrived += share
      }
    }
    run(until: trace.duration)
    outcome.throttled = simulation.kernel.throttled
    outcome.slack = max(0, simulation.slack)
    outcome.duration = simulation.kernel.time
    outcome.bursts.sort()
    outcome.limits = [(0, candidate.limit)]
    outcome.limits += simulation.writes.map {
      ($0.time, CFSBandwidth.scaled($0.quota, by: Self.core, over: period))
    }
    return outcome
  }
}

extension [Nanoseconds] {
  /// Gives work to as many threads as it takes to end it in a time.
  fileprivate mutating func add(_ work: Nanoseconds, within time: Nanoseconds) {
    let step = BandwidthModel.step
    // What a thread lacks of a whole step it was not running.
    let threads = Swift.max(1, Swift.min(Int64(count), (work + time / 8) / time))
    let share = work / threads / step * step
    for index in 0..<Int(threads) { self[index] += share }
    self[0] += work - share * threads
  }
}
