// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000
/// From seeing drift to writing over it.
private let delay: Nanoseconds = 50_000_000

private func limit(_ quota: Int64) -> CFSBandwidth { CFSBandwidth(quota: quota) }

extension ExternalWrites.Verdict {
  fileprivate var isDrift: Bool { if case .overwritten = self { true } else { false } }
}

@Suite struct ExternalWritesTests {
  private var writes = ExternalWrites(ours: limit(20_000), declared: limit(50_000))

  @Test mutating func `what we wrote is ours`() {
    #expect(writes.judge(limit(20_000), at: 0) == .ours)
    writes.wrote(limit(30_000))
    #expect(writes.judge(limit(30_000), at: 0) == .ours)
    #expect(writes.ours == limit(30_000))
  }

  @Test func `in a group of ours every value of another process is drift`() {
    var writes = ExternalWrites(ours: limit(20_000), declared: limit(50_000), isOurGroup: true)
    for value in [limit(60_000), CFSBandwidth(quota: nil), limit(50_000)] {
      #expect(writes.judge(value, by: .other, at: 7).isDrift)
    }
    #expect(writes.judge(limit(20_000), at: 7) == .ours)
  }

  @Test mutating func `the declared value that comes back is drift, a new one is news`() {
    #expect(writes.judge(limit(50_000), at: 7) == .overwritten(notBefore: 7 + delay))
    #expect(writes.judge(limit(60_000), at: 7) == .declared)
    #expect(writes.judge(CFSBandwidth(quota: nil), at: 7) == .declared)
    #expect(writes.judge(CFSBandwidth(quota: 20_000, period: 50_000), at: 7) == .declared)
  }

  @Test
  mutating func `after an update what the runtime was told is old, and what was before is not`() {
    writes.declared(limit(80_000), told: limit(70_000))
    #expect(writes.judge(limit(20_000), at: 0) == .ours)
    #expect(writes.judge(limit(70_000), at: 0).isDrift)
    #expect(writes.judge(limit(80_000), at: 0).isDrift)
    #expect(writes.judge(limit(50_000), at: 0) == .declared, "nobody holds the old one any more")
  }

  @Test mutating func `after an update the service manager has whole percents`() {
    writes.declared(limit(12_345), told: limit(12_345))
    #expect(writes.judge(limit(13_000), by: .serviceManager, at: 0).isDrift)
    #expect(writes.judge(limit(12_345), by: .serviceManager, at: 0).isDrift)
  }

  @Test mutating func `drift is written over at most once a second`() {
    #expect(
      writes.judge(limit(50_000), at: 5 * second) == .overwritten(notBefore: 5 * second + delay))
    writes.corrected(at: 5 * second)
    for now in [5 * second, 5 * second + 1, 6 * second - 1, 6 * second] {
      #expect(writes.judge(limit(50_000), at: now) == .overwritten(notBefore: 6 * second))
    }
    #expect(writes.judge(limit(20_000), at: 7 * second) == .ours)
    #expect(
      writes.judge(limit(50_000), at: 9 * second) == .overwritten(notBefore: 9 * second + delay))
  }

  @Test mutating func `who writes on and on does not put the correction off`() {
    for now in stride(from: 0, to: delay, by: 10_000_000) {
      #expect(writes.judge(limit(50_000), at: now) == .overwritten(notBefore: delay))
    }
  }

  @Test mutating func `in a fight that never ends ours is written once a second`() {
    var corrections = 0
    for now in stride(from: 0, to: 10 * second, by: 1_000_000) {
      guard case .overwritten(let moment) = writes.judge(limit(50_000), at: now), moment <= now
      else {
        continue
      }
      corrections += 1
      writes.corrected(at: now)
    }
    #expect(corrections == 10)
  }

  @Test mutating func `news that was learned is drift when it comes back`() {
    #expect(writes.judge(limit(60_000), at: 0) == .declared)
    writes.learned(limit(60_000))
    writes.wrote(limit(25_000))
    #expect(writes.judge(limit(60_000), at: 0).isDrift)
  }

  // Declared 150000, told to the runtime 12345 (in the scope: 13000), ours 5000.
  @Test(
    arguments: [
      (12_345, .unknown, false), (13_000, .unknown, false), (150_000, .unknown, false),
      (40_000, .unknown, true),
      (13_000, .serviceManager, false), (150_000, .serviceManager, false),
      (12_345, .serviceManager, true), (40_000, .serviceManager, true),
      (12_345, .runtime, false), (13_000, .runtime, true), (40_000, .runtime, true),
      (12_345, .other, true), (13_000, .other, true), (150_000, .other, false),
      (12_345, [.serviceManager, .runtime], false), (40_000, [.serviceManager, .runtime], true),
      (150_000, [.serviceManager, .runtime, .other], false),
    ] as [(Int64, ExternalWrites.Writers, Bool)])
  func `what is old depends on who writes it`(
    quota: Int64, writers: ExternalWrites.Writers, isNews: Bool
  ) {
    var writes = ExternalWrites(
      ours: limit(5_000), declared: limit(150_000), told: limit(12_345))
    #expect((writes.judge(limit(quota), by: writers, at: 0) == .declared) == isNews)
  }

  @Test mutating func `a service manager that is told a first value again means it`() {
    for quota: Int64 in [70_000, 50_000] {
      #expect(writes.judge(limit(quota), by: .serviceManager, at: 0) == .declared)
      writes.learned(limit(quota), from: .serviceManager)
      writes.wrote(limit(5_000))
      #expect(writes.judge(limit(quota), by: .serviceManager, at: 0).isDrift)
    }
  }

  @Test mutating func `a runtime that takes back what a service manager was told is news`() {
    writes.learned(limit(70_000), from: .serviceManager)
    #expect(writes.judge(limit(50_000), by: [.serviceManager, .runtime], at: 0) == .declared)
  }

  @Test mutating func `what a runtime was told anew the service manager has in percents`() {
    #expect(writes.judge(limit(12_345), by: [.serviceManager, .runtime], at: 0) == .declared)
    writes.learned(limit(12_345), from: [.serviceManager, .runtime])
    writes.wrote(limit(5_000))
    #expect(writes.judge(limit(13_000), by: .serviceManager, at: 0).isDrift)
    #expect(writes.judge(limit(12_345), by: .runtime, at: 0).isDrift)
    #expect(writes.judge(limit(50_000), at: 0) == .declared, "nobody holds the first one any more")
  }
}

@Suite struct UnitQuotaTests {
  @Test(
    arguments: [
      (20_000, 100_000, 20_000, 100_000), (12_345, 100_000, 13_000, 100_000),
      (100_001, 100_000, 101_000, 100_000), (25_300, 50_000, 25_500, 50_000),
      (1_000, 100_000, 1_000, 100_000),
      // 1 % of 50 ms is no quota: it is 1 ms of 100 ms.
      (1_000, 1_000_000, 10_000, 1_000_000), (50, 50_000, 1_000, 100_000),
    ] as [(Int64, Int64, Int64, Int64)])
  func `is rounded up to whole percents`(quota: Int64, period: Int64, held: Int64, long: Int64) {
    #expect(
      CFSBandwidth(quota: quota, period: period).asUnitProperty
        == CFSBandwidth(quota: held, period: long))
  }

  @Test(
    arguments: [
      (20_000, 100_000, 20_000), (12_345, 100_000, 12_000), (999_999, 1_000_000, 990_000),
      (25_300, 50_000, 25_000), (7_777, 33_333, 7_666),
      // Less than one percent, or than the kernel takes.
      (1_000, 1_000_000, 1_000), (1_900, 100_000, 1_000), (1_400, 50_000, 1_000),
    ] as [(Int64, Int64, Int64)])
  func `is no more than what is in whole percents`(quota: Int64, period: Int64, whole: Int64) {
    let made = CFSBandwidth(quota: quota, period: period).inWholePercents
    #expect(made == CFSBandwidth(quota: whole, period: period))
    if quota > 1_000 { #expect(made.asUnitProperty == made) }
  }

  @Test func `has one period for no limit`() {
    #expect(CFSBandwidth(quota: nil, period: 50_000).asUnitProperty == CFSBandwidth(quota: nil))
  }

  @Test func `any number gives some limit`() {
    for quota in [Int64.min, -1, 0, 1, .max / 2, .max] {
      for period in [Int64.min, -1, 0, 1, 1000, .max] {
        let held = CFSBandwidth(quota: quota, period: period).asUnitProperty
        #expect((held.quota ?? 0) >= CFSBandwidth.minimum && held.period > 0)
      }
    }
  }
}
