// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What the runs of a profile have in common; what was long ago counts for less.
package struct Profile: Sendable {
  /// The runs, the oldest first.
  package let runs: [Run]
  /// CPU use of busy periods, in nanocores.
  package private(set) var cpu = WeightedHistogram(.cpu)
  /// CPU time of bursts.
  package private(set) var bursts = WeightedHistogram(.burst)
  /// The most memory of seconds, in bytes.
  package private(set) var memory = WeightedHistogram(.memory)
  private let weights: [Double]

  /// After a week a run counts half.
  package static let halfLife: Nanoseconds = 7 * 86_400_000_000_000

  /// Adds up runs.
  ///
  /// - Parameters:
  ///   - runs: The oldest first.
  ///   - now: The time on the wall clock.
  package init(_ runs: [Run], now: Nanoseconds) {
    self.runs = runs
    weights = runs.map { Self.weight(age: now - min($0.total.written, now)) }
    for (run, weight) in zip(runs, weights) {
      cpu.add(run.total.cpu, weight: weight)
      bursts.add(run.total.bursts, weight: weight)
      memory.add(run.total.memory, weight: weight)
    }
  }

  /// A half for each half-life, and a straight line in between.
  static func weight(age: Nanoseconds) -> Double {
    let halvings = age / halfLife
    guard halvings < 60 else { return 0x1p-60 }
    let rest = Double(age % halfLife) / Double(halfLife)
    return (1 - rest / 2) / Double(1 << halvings)
  }

  /// A percentile of a figure of the runs, each run with its weight.
  ///
  /// - Parameters:
  ///   - part: From 0 to 1.
  ///   - figure: A figure of a run.
  /// - Returns: nil where there is no run.
  package func percentile(_ part: Double, of figure: (RunRecord) -> Int64) -> Int64? {
    let sorted = zip(runs.map { figure($0.total) }, weights).sorted { $0.0 < $1.0 }
    let total = weights.reduce(0, +)
    var sum = 0.0
    for (value, weight) in sorted {
      sum += weight
      if sum >= part * total * (1 - 1e-12) { return value }
    }
    return sorted.last?.0
  }

  /// A figure of all runs together; at most what an integer holds.
  package func sum(_ figure: (RunRecord) -> Int64) -> Int64 {
    runs.reduce(0) { sum, run in
      let (next, isTooMuch) = sum.addingReportingOverflow(figure(run.total))
      return isTooMuch ? .max : next
    }
  }

  /// For how long the profile was seen.
  package var duration: Nanoseconds { sum { $0.duration } }

  /// The CFS period of the last run.
  package var period: Nanoseconds { runs.last?.total.period ?? 100_000_000 }
}
