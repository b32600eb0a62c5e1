// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000

/// What is left unused over time, and what giving it back costs.
@Suite struct MemorySlackTests {
  private static let low = 64 * mebibyte
  private static let peak = 768 * mebibyte

  /// As Benchmarks/helpers/saw.c: up in seven tenths of a period, a tenth at the peak, down at once.
  private func saw(
    period: Nanoseconds, cycles: Int, version: CgroupVersion,
    parameters: MemoryLaw.Parameters = .standard
  ) -> (group: SimulatedMemcg, toStatic: Double) {
    var group = SimulatedMemcg(
      limit: 2 * Self.low, ceiling: Self.peak * 3 / 2, parameters: parameters, version: version)
    group.grow(to: Self.low, rate: 1_000_000_000)
    group.run(2500 * ms)
    let (start, before) = (group.time, group.slack)
    let pace = (Self.peak - Self.low) * 1_000_000_000 / (period * 7 / 10)
    for _ in 0..<cycles {
      group.grow(to: Self.peak, rate: pace)
      group.run(period / 10)
      group.free(to: Self.low)
      group.run(period / 5)
    }
    // Use is the middle while it rises.
    let used =
      Double(Self.low + Self.peak) / 2 * 0.7 + Double(Self.peak) * 0.1 + Double(Self.low) * 0.2
    let seconds = Double(group.time - start) / 1e9
    return (group, (group.slack - before) / seconds / (1.5 * Double(Self.peak) - used))
  }

  @Test(
    arguments: [
      (.v1, 12, 0.10), (.v1, 6, 0.15), (.v2, 12, 0.2), (.v2, 6, 0.3),
    ] as [(CgroupVersion, Int64, Double)])
  func `a sawtooth's slack is a fraction of a static limit's`(
    version: CgroupVersion, seconds: Int64, most: Double
  ) {
    let (group, toStatic) = saw(period: seconds * second, cycles: 5, version: version)
    #expect(group.kills == 0)
    #expect(group.stalled == 0)
    #expect(toStatic < most)
  }

  @Test func `who comes back slowly has spared what was given back, and regrets nothing`() {
    let (group, _) = saw(period: 12 * second, cycles: 5, version: .v1)
    #expect(group.controller.wait == MemoryLaw.Parameters.standard.slackAfter)
    #expect(group.decisions.filter { $0.rule == .memoryGivenBack }.count >= 5)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `who comes back fast keeps it ever longer`(version: CgroupVersion) {
    var group = SimulatedMemcg(
      limit: Self.low, ceiling: 2 * Self.peak, version: version)
    for _ in 0..<60 {
      group.grow(to: Self.peak, rate: 2_000_000_000)
      group.free(to: Self.low / 2)
      group.run(second)
    }
    #expect(group.kills == 0)
    // Without the back-off it would be one each time.
    #expect(group.decisions.filter { $0.rule == .memoryGivenBack }.count <= 8)
    #expect(group.controller.wait > second)
  }

  @Test func `a shrink that is not regretted has the next one wait less long`() {
    var group = SimulatedMemcg(limit: Self.low, ceiling: 2 * Self.peak)
    for _ in 0..<3 {
      group.grow(to: Self.peak, rate: 2_000_000_000)
      group.free(to: Self.low / 2)
      while group.limit > Self.peak { group.run(100 * ms) }
    }
    group.grow(to: Self.peak, rate: 2_000_000_000)
    let patient = group.controller.wait
    #expect(patient >= 4 * MemoryLaw.Parameters.standard.slackAfter)
    group.free(to: Self.low / 2)
    group.run(patient + 2 * second)
    group.grow(to: Self.low, rate: 2_000_000_000)
    #expect(group.controller.wait == patient / 2)
  }
}
