// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a profile's containers should be given, and why.
package struct Recommendation: Equatable, Sendable {
  /// A value and what it lies between with confidence, as the Vertical Pod Autoscaler has it.
  package struct Figure: Equatable, Sendable {
    /// What to give.
    package var target: Int64
    /// Less than this is too little.
    package var lower: Int64
    /// More than this is waste.
    package var upper: Int64
  }

  /// The CPU that a scheduler should count with, in nanocores.
  package var cpuRequest: Int64
  /// The CPU limit that throttles hardly ever, in nanocores.
  package var cpuLimit: Figure
  /// The memory that a scheduler should count with, in bytes.
  package var memoryRequest: Int64
  /// The memory limit that does not kill, in bytes.
  package var memoryLimit: Figure
  /// For `io.escra.cpu.min`, in nanocores.
  package var cpuMinimum: Int64
  /// What `reactive` held on average, or would have; nil where there was no time.
  package var heldCPU: Int64?
  /// The same of memory; nil where memory was not moved.
  package var heldMemory: Int64?
  /// What it was concluded from.
  package var evidence: Evidence

  /// What a recommendation was concluded from.
  package struct Evidence: Equatable, Sendable {
    /// How many runs.
    package var runs: Int
    /// For how long they were seen.
    package var duration: Nanoseconds
    /// The CPU used on average, in nanocores.
    package var meanCPU: Int64
    /// The most CPU of a period, in nanocores.
    package var cpuPeak: Int64
    /// The most memory, in bytes.
    package var memoryPeak: Int64
    /// How many busy periods were counted, by their weight.
    package var periods: Int64
    /// The part of the busy periods that wanted more than the recommended limit.
    package var periodsAbove: Double
    /// How long one in twenty bursts waits at least under a smaller limit.
    package var wait: Wait?
    /// Whether the kernel throttled it so much that its demand is not known.
    package var isCensored: Bool
    /// Whether 15 % were added because a period of the kernel's may hold more than those seen.
    package var isShifted: Bool
    /// Processes that were killed for want of memory.
    package var kills: Int64
  }

  /// How long one in twenty bursts waits at least under a limit.
  package struct Wait: Equatable, Sendable {
    /// The limit, in nanocores.
    package var limit: Int64
    /// The wait.
    package var time: Nanoseconds
  }

  /// What the least runs are from which limits are predicted.
  package static let leastRuns = 5
  /// What is added to memory that was used: 15 %, as the Vertical Pod Autoscaler adds.
  private static let margin: Int64 = 15
  private static let core: Int64 = 1_000_000_000
  /// A part of all busy time in which the kernel throttled, from which the demand is not known.
  private static let censored = 0.02

  /// Concludes from a profile; nil where no run was ever busy.
  package init?(_ profile: Profile) {
    guard let usual = profile.cpu.percentile(0.9), let rare = profile.cpu.percentile(0.999),
      profile.duration > 0
    else { return nil }
    let period = profile.period
    let busy = profile.sum { $0.busy }
    let isCensored =
      Double(profile.sum { $0.isObserved ? $0.throttledTime : 0 }) > Self.censored * Double(busy)
    let peak = profile.runs.reduce(0) { max($0, $1.total.cpuPeak) }
    // What was cut by a limit says only that more was wanted: twice as much, as the law gives.
    let seen = min(rare, max(peak, profile.cpu.scale.first)) * (isCensored ? 2 : 1)
    let isShifted = Self.mayShift(profile, peak: peak)
    let wanted = isShifted ? seen + seen / 100 * Self.margin : seen
    let limit = Self.rounded(wanted + Self.stranded(wanted, period), to: Self.core / 100)
    let mean = Self.rate(profile.sum { $0.usedCPU }, over: profile.duration, Self.core)
    let request = Self.rounded(mean + mean / 100 * Self.margin, to: Self.core / 200)
    let days = max(Double(profile.duration) / 86_400e9, 1 / 1440)
    cpuRequest = min(limit, max(request, Self.core / 100))
    cpuLimit = Figure(
      target: limit, lower: min(limit, Self.rounded(usual, to: Self.core / 100)),
      upper: Self.widened(max(limit, peak), days: days))
    let memoryPeak = profile.runs.reduce(0) { max($0, $1.total.memoryPeak) }
    let kills = profile.sum { Int64($0.events.kills) }
    let needed = kills > 0 ? max(memoryPeak / 5 * 6, memoryPeak + 100 << 20) : memoryPeak
    let memory = Self.rounded(needed + needed / 100 * Self.margin, to: 1 << 20)
    let typical = profile.percentile(0.9) { $0.memoryPeak } ?? 0
    memoryRequest = min(memory, Self.rounded(typical, to: 1 << 20))
    memoryLimit = Figure(
      target: memory, lower: min(memory, Self.rounded(memoryPeak, to: 1 << 20)),
      upper: Self.widened(memory, days: days))
    let isMostlyBusy = busy > profile.duration / 2
    cpuMinimum = isMostlyBusy ? max(Self.core / 20, cpuRequest) : min(limit, Self.core / 20)
    heldCPU = Self.rate(profile.sum { $0.heldCPU }, over: profile.duration, Self.core)
    let held = profile.sum { $0.heldMemory }
    heldMemory = held == 0 ? nil : Self.rate(held, over: profile.duration, Self.core) << 10
    evidence = Evidence(
      runs: profile.runs.count, duration: profile.duration, meanCPU: mean, cpuPeak: peak,
      memoryPeak: memoryPeak, periods: Int64(profile.cpu.total),
      periodsAbove: profile.cpu.share(above: Histogram.Scale.cpu.boundAbove(limit)), wait: nil,
      isCensored: isCensored, isShifted: isShifted, kills: kills)
    evidence.wait = Self.wait(profile, below: limit, peak: peak)
  }

  /// Whether a period of the kernel's, which begins at another moment, may hold more than was seen.
  ///
  /// Not if quarters were seen, nor if each burst has ended within the period that began with it. For
  /// requests at random the most of any period is usually 12 % above that of periods side by side.
  private static func mayShift(_ profile: Profile, peak: Int64) -> Bool {
    profile.runs.contains {
      !$0.total.isSeenInQuarters
        && CFSBandwidth.scaled($0.total.longestBurst, by: core, over: profile.period) > peak
    }
  }

  /// What one in twenty bursts waits under the declared limit, or under two thirds of a limit.
  private static func wait(_ profile: Profile, below limit: Int64, peak: Int64) -> Wait? {
    guard let burst = profile.bursts.percentile(0.95) else { return nil }
    let declared = profile.runs.last?.total.declaredCPU ?? 0
    let smaller =
      declared > 0 && declared < limit ? declared : rounded(limit / 3 * 2, to: core / 100)
    let time = delay(
      of: min(burst, profile.runs.reduce(0) { max($0, $1.total.longestBurst) }), under: smaller,
      pace: max(core, peak), period: profile.period)
    return time > 0 ? Wait(limit: smaller, time: time) : nil
  }

  /// How much longer a burst takes under a limit than without one.
  ///
  /// - Parameters:
  ///   - burst: Its CPU time.
  ///   - limit: In nanocores.
  ///   - pace: The CPUs that it runs on, in nanocores.
  ///   - period: The CFS period, which begins with it.
  /// - Returns: The time.
  package static func delay(
    of burst: Nanoseconds, under limit: Int64, pace: Int64, period: Nanoseconds
  ) -> Nanoseconds {
    let quota = max(1000, CFSBandwidth.scaled(limit, by: period, over: core))
    guard limit < pace else { return 0 }
    // Longer ones are no bursts, and their figures have no place in an integer.
    let burst = min(burst, 1 << 40)
    let periods = max(0, burst - 1) / quota
    let rest = CFSBandwidth.scaled(burst - periods * quota, by: core, over: pace)
    return periods * period + rest - CFSBandwidth.scaled(burst, by: core, over: pace)
  }

  /// What CPUs may hold of a quota without using it: a millisecond each (min_cfs_rq_runtime).
  private static func stranded(_ cores: Int64, _ period: Nanoseconds) -> Int64 {
    (cores + core - 1) / core * (1_000_000 * core / max(period, 1_000_000))
  }

  private static func rounded(_ value: Int64, to step: Int64) -> Int64 {
    min(value, .max - step) / step * step + (value % step == 0 ? 0 : step)
  }

  /// The more, the less is known: VPA's upper bound, x (1 + 1 / days).
  private static func widened(_ value: Int64, days: Double) -> Int64 {
    let wide = Double(value) * (1 + min(1 / days, 9))
    return wide >= 0x1p62 ? 1 << 62 : Int64(wide)
  }

  private static func rate(_ amount: Int64, over time: Nanoseconds, _ unit: Int64) -> Int64 {
    // What is more is no figure of a container, and is added to others.
    min(CFSBandwidth.scaled(amount, by: unit, over: max(1, time)), 1 << 52)
  }
}

extension Histogram.Scale {
  /// The bound of the bucket that a value is in: what is above it is above the value for certain.
  fileprivate func boundAbove(_ value: Int64) -> Int64 { bound(bucket(of: value)) }
}
