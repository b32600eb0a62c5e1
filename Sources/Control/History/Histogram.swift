// SPDX-License-Identifier: Apache-2.0

/// How often values of a size came, in buckets that grow by the same factor.
///
/// A bucket's bound is computed in integers, so that every version and machine agrees on it.
package struct Histogram: Equatable, Sendable {
  /// Where the buckets of one kind of value are.
  package struct Scale: Equatable, Sendable {
    /// The upper bound of the first bucket.
    package let first: Int64
    /// By how many percent a bound is above the one before.
    package let growth: Int64
    /// How many buckets there are; the last one has no bound.
    package let count: Int

    /// CPU time a period, in nanocores: 0.005 to 197 cores, 10 % apart.
    package static let cpu = Scale(first: 5_000_000, growth: 10, count: 112)
    /// CPU time of a burst, in nanoseconds: 1 ms to 500 s, 40 % apart.
    package static let burst = Scale(first: 1_000_000, growth: 40, count: 40)
    /// Memory, in bytes: 1 MiB to 208 GiB, 25 % apart.
    package static let memory = Scale(first: 1 << 20, growth: 25, count: 56)

    /// The upper bound of a bucket.
    package func bound(_ index: Int) -> Int64 {
      var bound = first
      for _ in 0..<index { bound += bound / 100 * growth }
      return bound
    }

    /// The bucket that a value is in.
    package func bucket(of value: Int64) -> Int {
      var bound = first
      var index = 0
      while index < count - 1, value > bound {
        bound += bound / 100 * growth
        index += 1
      }
      return index
    }
  }

  /// Where its buckets are.
  package let scale: Scale
  /// How often a value was in each bucket.
  package var counts: [UInt32]

  /// A histogram of no value.
  package init(_ scale: Scale) {
    self.scale = scale
    counts = Array(repeating: 0, count: scale.count)
  }

  /// Counts a value; a full bucket stays full.
  package mutating func add(_ value: Int64, times: UInt32 = 1) {
    let bucket = scale.bucket(of: value)
    let (sum, isFull) = counts[bucket].addingReportingOverflow(times)
    counts[bucket] = isFull ? .max : sum
  }
}

/// Histograms of one scale added up, each with a weight.
package struct WeightedHistogram: Equatable, Sendable {
  /// Where its buckets are.
  package let scale: Histogram.Scale
  /// The weight in each bucket.
  package private(set) var weights: [Double]

  /// A histogram of nothing.
  package init(_ scale: Histogram.Scale) {
    self.scale = scale
    weights = Array(repeating: 0, count: scale.count)
  }

  /// Adds all of a histogram.
  package mutating func add(_ histogram: Histogram, weight: Double) {
    for index in weights.indices { weights[index] += Double(histogram.counts[index]) * weight }
  }

  /// Adds one value.
  package mutating func add(_ value: Int64, weight: Double) {
    weights[scale.bucket(of: value)] += weight
  }

  /// All weights together.
  package var total: Double { weights.reduce(0, +) }

  /// The bound that a part of the weight is at or below.
  ///
  /// - Parameter part: From 0 to 1.
  /// - Returns: The upper bound of a bucket; nil where there is no weight.
  package func percentile(_ part: Double) -> Int64? {
    let total = total
    guard total > 0 else { return nil }
    var sum = 0.0
    for index in weights.indices where weights[index] > 0 {
      sum += weights[index]
      // What was added up in another order differs in the last digits.
      if sum >= part * total * (1 - 1e-12) { return scale.bound(index) }
    }
    return weights.lastIndex { $0 > 0 }.map { scale.bound($0) }
  }

  /// The part of the weight that is above a value, by the buckets' bounds.
  package func share(above value: Int64) -> Double {
    let total = total
    guard total > 0 else { return 0 }
    var above = 0.0
    for index in weights.indices where scale.bound(index) > value { above += weights[index] }
    return above / total
  }
}
