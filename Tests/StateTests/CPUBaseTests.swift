// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities
@testable import Syscalls

/// A thousandth of a core, in nanocores.
private let milli: Int64 = 1_000_000

private func base(
  _ quota: Int64?, period: Int64 = 100_000, floor: Int64 = 50 * milli, ceiling: Int64? = nil,
  limit: Int64 = 2000 * milli
) -> CPUBase {
  CPUBase(
    declared: CFSBandwidth(quota: quota, period: period), floor: floor, explicitCeiling: ceiling,
    limit: limit)
}

/// A base, and its bounds and its first quota with an alarm and without one, in milliseconds.
private struct Row: Sendable {
  let base: CPUBase
  let floor: Int64
  let ceiling: Int64
  let initial: Int64
  let floorWithoutAlarm: Int64
}

@Suite struct CPUBaseTests {
  @Test(
    arguments: [
      (base(50_000), 50_000), (base(nil), nil), (base(50_000, ceiling: 1000 * milli), 100_000),
      (base(150_000, ceiling: 500 * milli), 50_000), (base(nil, ceiling: 500 * milli), 50_000),
      (base(50_000, ceiling: 8000 * milli), 200_000),
    ] as [(CPUBase, Int64?)])
  func `the container's own group has the most that it may have`(base: CPUBase, quota: Int64?) {
    #expect(base.firstInner == CFSBandwidth(quota: quota))
  }

  @Test func `a member's own group has its application's limit, raised when that grows`() {
    var base = base(50_000, ceiling: 2000 * milli)
    base.application = 1000 * milli
    #expect(base.firstInner == CFSBandwidth(quota: 100_000))
    (base.inner, base.told) = (base.firstInner, base.firstInner)
    // It bounds no grant.
    #expect(base.ceiling == 2000 * milli)
    base.application = 1500 * milli
    var raised: CFSBandwidth?
    let isNew = base.takeInner(CFSBandwidth(quota: 100_000)) { limit throws(SystemError) in
      raised = limit
    }
    #expect(!isNew && raised == CFSBandwidth(quota: 150_000))
    // systemd writes what it was told at first: that declares nothing.
    raised = nil
    let isDeclared = base.takeInner(CFSBandwidth(quota: 100_000)) { limit throws(SystemError) in
      raised = limit
    }
    #expect(!isDeclared && raised == CFSBandwidth(quota: 150_000))
    #expect(base.declared == CFSBandwidth(quota: 50_000))
  }

  @Test(
    arguments: [
      (50_000, 50 * milli), (100_000, 50 * milli), (100_001, 1_000_010_000),
      (150_000, 1010 * milli),
      (200_000, 1010 * milli),
    ] as [(Int64?, Int64)])
  func `programs that count CPUs by the limit that moves count as many`(
    quota: Int64?, least: Int64
  ) {
    var base = base(quota)
    base.countsCPUs = true
    #expect(base.leastCores == least)
    base.countsCPUs = false
    #expect(base.leastCores == 50 * milli)
  }

  @Test(
    arguments: [
      // Written again, it declares nothing new, and its maximum is written again.
      (100_000, 50_000, false, nil), (50_000, 50_000, true, 100_000),
      // Less or more than its maximum.
      (70_000, 70_000, true, 100_000), (150_000, 150_000, true, nil), (nil, nil, true, nil),
    ] as [(Int64?, Int64?, Bool, Int64?)])
  func `what another process writes into its own group is declared, and its maximum stays`(
    found: Int64?, declared: Int64?, isNew: Bool, raised: Int64?
  ) {
    var base = base(50_000, ceiling: 1000 * milli)
    base.inner = base.firstInner
    var written: CFSBandwidth?
    let result = base.takeInner(CFSBandwidth(quota: found)) { limit in written = limit }
    #expect(result == isNew)
    #expect(base.declared == CFSBandwidth(quota: declared))
    #expect(written == raised.map { CFSBandwidth(quota: $0) })
    #expect(base.inner == CFSBandwidth(quota: raised ?? found))
  }

  @Test func `it has no more than its own group`() {
    var base = base(50_000, ceiling: 1500 * milli)
    base.inner = CFSBandwidth(quota: 60_000)
    #expect(base.ceiling == 600 * milli)
    base.inner = CFSBandwidth(quota: nil)
    #expect(base.ceiling == 1500 * milli)
  }

  private static let rows = [
    // 1.5 cores declared on a machine of two.
    Row(base: base(150_000), floor: 5, ceiling: 150, initial: 150, floorWithoutAlarm: 75),
    // Nothing declared: all there is.
    Row(base: base(nil), floor: 5, ceiling: 200, initial: 200, floorWithoutAlarm: 100),
    // An annotation allows more than was declared, and less.
    Row(
      base: base(50_000, ceiling: 1000 * milli), floor: 5, ceiling: 100, initial: 50,
      floorWithoutAlarm: 25),
    Row(
      base: base(150_000, ceiling: 500 * milli), floor: 5, ceiling: 50, initial: 50,
      floorWithoutAlarm: 25),
    Row(
      base: base(nil, ceiling: 500 * milli), floor: 5, ceiling: 50, initial: 50,
      floorWithoutAlarm: 25),
    // Nothing exceeds the operator's ceiling and the node.
    Row(base: base(800_000), floor: 5, ceiling: 200, initial: 200, floorWithoutAlarm: 100),
    Row(
      base: base(50_000, ceiling: 8000 * milli), floor: 5, ceiling: 200, initial: 50,
      floorWithoutAlarm: 25),
    // A floor above half of what was declared stays; one above the ceiling is the ceiling.
    Row(
      base: base(150_000, floor: 1000 * milli), floor: 100, ceiling: 150, initial: 150,
      floorWithoutAlarm: 100),
    Row(
      base: base(20_000, floor: 500 * milli), floor: 20, ceiling: 20, initial: 20,
      floorWithoutAlarm: 20),
    // Another period is the same number of cores.
    Row(
      base: base(75_000, period: 50_000), floor: 2, ceiling: 75, initial: 75,
      floorWithoutAlarm: 37),
    Row(
      base: base(1_500_000, period: 1_000_000), floor: 50, ceiling: 1500, initial: 1500,
      floorWithoutAlarm: 750),
    // The kernel takes no quota below 1 ms.
    Row(
      base: base(1000, period: 1_000_000, floor: 0), floor: 1, ceiling: 1, initial: 1,
      floorWithoutAlarm: 1),
    Row(
      base: base(nil, period: 1000, floor: 10 * milli, limit: 1000 * milli), floor: 1, ceiling: 1,
      initial: 1, floorWithoutAlarm: 1),
  ]

  @Test(arguments: rows)
  private func `moves between the floor and the ceiling, from what was declared`(row: Row) {
    let bounds = row.base.bounds(hasAlarm: true)
    #expect(bounds.floor / ms == row.floor)
    #expect(bounds.ceiling / ms == row.ceiling)
    #expect(row.base.initial() / ms == row.initial)
    let watched = row.base.bounds(hasAlarm: false)
    #expect(watched.floor / ms == row.floorWithoutAlarm)
    #expect(watched.ceiling == bounds.ceiling)
    #expect(row.base.initial(hasAlarm: false) == row.base.initial())
  }

  @Test func `declared cores are nanocores`() {
    #expect(base(150_000).declaredCores == 1500 * milli)
    #expect(base(25_000, period: 50_000).declaredCores == 500 * milli)
    #expect(base(nil).declaredCores == nil)
  }

  @Test func `a limit is written to the microsecond below, and never below the least`() {
    let base = base(150_000, period: 50_000)
    #expect(base.limit(of: 12_345_678) == CFSBandwidth(quota: 12_345, period: 50_000))
    #expect(base.limit(of: 999_999) == CFSBandwidth(quota: 1000, period: 50_000))
    #expect(base.limit(of: 0) == CFSBandwidth(quota: 1000, period: 50_000))
    #expect(base.limit(of: .min) == CFSBandwidth(quota: 1000, period: 50_000))
  }

  @Test func `a limit under another period is the same rate in ours`() {
    let base = base(150_000, period: 50_000)
    #expect(base.quota(of: CFSBandwidth(quota: 20_000, period: 100_000)) == 10 * ms)
    #expect(base.quota(of: CFSBandwidth(quota: 20_000, period: 50_000)) == 20 * ms)
    #expect(base.quota(of: CFSBandwidth(quota: nil, period: 20_000)) == 100 * ms)
  }

  @Test func `what was declared is what is written, whatever the period`() throws {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<5000 {
      let period = Int64.random(in: 1000...1_000_000, using: &random)
      let quota = Int64.random(in: 1000...64 * period, using: &random)
      let base = base(quota, period: period, floor: 0, limit: 64_000 * milli)
      try #require(base.limit(of: base.initial()) == base.declared)
      try #require(base.limit(of: base.quota(of: base.declared)) == base.declared)
    }
  }

  @Test func `no number is too large or too small`() throws {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<5000 {
      let period = max(1, random.number())
      let base = CPUBase(
        declared: CFSBandwidth(
          quota: Bool.random(using: &random) ? nil : random.number(), period: period),
        floor: random.number(),
        explicitCeiling: Bool.random(using: &random) ? nil : random.number(),
        limit: random.number())
      for hasAlarm in [true, false] {
        let bounds = base.bounds(hasAlarm: hasAlarm)
        try #require(bounds.floor >= ms)
        try #require(bounds.floor <= bounds.ceiling)
        let initial = base.initial(hasAlarm: hasAlarm)
        try #require(bounds.clamp(initial) == initial)
        try #require(base.limit(of: initial).quota ?? 0 >= CFSBandwidth.minimum)
      }
      let found = CFSBandwidth(quota: random.number(), period: max(1, random.number()))
      try #require(base.quota(of: found) >= 0)
    }
  }
}

@Suite struct QuotaBoundsTests {
  @Test func `a floor above the ceiling is the ceiling`() {
    #expect(QuotaBounds(floor: 5, ceiling: 3) == QuotaBounds(floor: 3, ceiling: 3))
    #expect([1, 3, 4, 9].map(QuotaBounds(floor: 3, ceiling: 7).clamp) == [3, 3, 4, 7])
  }
}
