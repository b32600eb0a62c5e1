// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Cgroups
@testable import Quantities

@Suite struct CPUQuotaTests {
  private static let v1: [(Int64, Int64, CFSBandwidth?)] = [
    (50_000, 100_000, CFSBandwidth(quota: 50_000)), (-1, 100_000, CFSBandwidth(quota: nil)),
    (1000, 1000, CFSBandwidth(quota: 1000, period: 1000)),
    (-1, 20_000, CFSBandwidth(quota: nil, period: 20_000)), (50_000, 0, nil), (50_000, -1, nil),
  ]

  @Test(arguments: v1)
  func `takes what v1's two files say`(quota: Int64, period: Int64, expected: CFSBandwidth?) {
    #expect(CFSBandwidth(cfsQuota: quota, cfsPeriod: period) == expected)
  }

  private static let v2: [(String, CFSBandwidth?)] = [
    ("50000 100000\n", CFSBandwidth(quota: 50_000)), ("max 100000\n", CFSBandwidth(quota: nil)),
    ("max 20000", CFSBandwidth(quota: nil, period: 20_000)),
    ("", nil), ("\n", nil), ("max\n", nil), ("50000\n", nil), ("50000 0\n", nil),
    ("50000 -1\n", nil), ("50000 max\n", nil), ("min 100000\n", nil), ("1 2 3\n", nil),
  ]

  @Test(arguments: v2)
  func `reads v2's one file`(text: String, expected: CFSBandwidth?) {
    #expect(CFSBandwidth(cpuMax: text) == expected)
  }

  @Test func `is so many cores`() {
    #expect(CFSBandwidth(quota: 150_000).cores == 1.5)
    #expect(CFSBandwidth(quota: 10_000, period: 40_000).cores == 0.25)
    #expect(CFSBandwidth(quota: nil).cores == nil)
  }

  private static let nanocores: [(CFSBandwidth, Int64?)] = [
    (CFSBandwidth(quota: 150_000), 1_500_000_000), (CFSBandwidth(quota: nil), nil),
    (CFSBandwidth(quota: 10_000, period: 30_000), 333_333_334), (CFSBandwidth(quota: -1), 0),
    // The largest that the kernel takes (max_bw_quota), and more.
    (CFSBandwidth(quota: 1 << 44), 175_921_860_444_160_000), (CFSBandwidth(quota: .max), .max),
    (CFSBandwidth(quota: 9_223_372_036, period: 1), 9_223_372_036_000_000_000),
    (CFSBandwidth(quota: 9_223_372_037, period: 1), .max),
    (CFSBandwidth(quota: .min, period: 1), 0),
    (CFSBandwidth(quota: .max, period: .max), 1_000_000_000),
    (CFSBandwidth(quota: 1, period: .max), 1),
  ]

  @Test(arguments: nanocores)
  func `is so many nanocores`(limit: CFSBandwidth, nanocores: Int64?) {
    #expect(limit.nanocores == nanocores)
  }

  private static let v1Writes: [(CFSBandwidth, CFSBandwidth, [CgroupWrite])] = [
    // One write where one suffices, even of the same value: it is a refill.
    (CFSBandwidth(quota: 10_000), CFSBandwidth(quota: 20_000), [quota("20000")]),
    (CFSBandwidth(quota: 10_000), CFSBandwidth(quota: 10_000), [quota("10000")]),
    (CFSBandwidth(quota: 10_000), CFSBandwidth(quota: nil), [quota("-1")]),
    (CFSBandwidth(quota: nil), CFSBandwidth(quota: 10_000), [quota("10000")]),
    // A longer period lowers the rate, so it comes first; a shorter one raises it, so it is last.
    (
      CFSBandwidth(quota: 10_000, period: 50_000), CFSBandwidth(quota: 20_000, period: 100_000),
      [period("100000"), quota("20000")]
    ),
    (
      CFSBandwidth(quota: 20_000, period: 100_000), CFSBandwidth(quota: 10_000, period: 50_000),
      [quota("10000"), period("50000")]
    ),
  ]

  private static func quota(_ value: String) -> CgroupWrite {
    CgroupWrite(file: "cpu.cfs_quota_us", value: value)
  }

  private static func period(_ value: String) -> CgroupWrite {
    CgroupWrite(file: "cpu.cfs_period_us", value: value)
  }

  @Test(arguments: v1Writes)
  func `v1 has a file for each part`(old: CFSBandwidth, new: CFSBandwidth, expected: [CgroupWrite])
  {
    #expect(new.writes(from: old, version: .v1) == expected)
  }

  private static let v2Writes: [(CFSBandwidth, String)] = [
    (CFSBandwidth(quota: 20_000), "20000 100000"), (CFSBandwidth(quota: nil), "max 100000"),
    (CFSBandwidth(quota: 20_000, period: 50_000), "20000 50000"),
  ]

  @Test(arguments: v2Writes)
  func `v2 has one file for both parts`(new: CFSBandwidth, value: String) {
    for old in [CFSBandwidth(quota: nil), CFSBandwidth(quota: 5000, period: 5000), new] {
      #expect(
        new.writes(from: old, version: .v2) == [CgroupWrite(file: "cpu.max", value: value)])
    }
  }

  @Test func `what is written reads back`() throws {
    var random = SeededGenerator(seed: 2)
    for _ in 0..<1000 {
      let limit = CFSBandwidth(
        quota: Bool.random(using: &random) ? nil : .random(in: 1000...1 << 44, using: &random),
        period: .random(in: 1000...1_000_000, using: &random))
      let old = CFSBandwidth(quota: nil, period: limit.period == 1000 ? 2000 : 1000)
      try #require(
        limit.writes(from: old, version: .v2).map { CFSBandwidth(cpuMax: $0.value) } == [limit])
      let values = limit.writes(from: old, version: .v1).reduce(into: [:]) {
        $0[$1.file] = $1.value
      }
      try #require(
        CFSBandwidth(
          cfsQuota: values["cpu.cfs_quota_us"].flatMap { Int64($0) } ?? 0,
          cfsPeriod: values["cpu.cfs_period_us"].flatMap { Int64($0) } ?? 0)
          == limit)
    }
  }

  @Test func `between two writes of v1 the rate is above neither`() throws {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<1000 {
      func limit() -> CFSBandwidth {
        CFSBandwidth(
          quota: .random(in: 1000...1_000_000, using: &random),
          period: .random(in: 1000...1_000_000, using: &random))
      }
      let (old, new) = (limit(), limit())
      var between = old
      let first = try #require(new.writes(from: old, version: .v1).first)
      let value = try #require(Int64(first.value))
      if first.file == "cpu.cfs_quota_us" { between.quota = value } else { between.period = value }
      try #require((between.cores ?? .infinity) <= max(old.cores ?? 0, new.cores ?? 0))
    }
  }
}
