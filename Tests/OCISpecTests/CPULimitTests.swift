// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Quantities

@Suite struct CPULimitTests {
  @Test(
    arguments: [
      (50_000, 100_000, 500_000_000), (200_000, 100_000, 2_000_000_000),
      (1, 3, 333_333_334), (10_000, 0, 100_000_000),
      (Int64.max, 1, Int64.max),
    ] as [(Int64, Int64, Int64)])
  func `a quota in a period is a limit`(quota: Int64, period: Int64, nanocores: Int64) {
    #expect(CPULimit(quota: quota, period: period)?.nanocores == nanocores)
  }

  @Test(arguments: [-1, 0, Int64.min])
  func `a quota that is not positive is no limit`(quota: Int64) {
    #expect(CPULimit(quota: quota, period: 100_000) == nil)
  }

  @Test(arguments: [1000, 3333, 99_999, 100_000, 250_001, 1_000_000] as [Int64])
  func `a quota comes back as it was, whatever the period`(period: Int64) {
    for quota in [1000, 1001, 1003, 33_333, 100_001, 7_777_777] as [Int64] {
      #expect(CPULimit(quota: quota, period: period)?.quota(period: period) == quota)
    }
  }

  @Test(
    arguments: [
      (10, 100_000, 1000), (1, 100_000, 1000), (500, 100_000, 50_000), (1500, 33_333, 49_999),
      (Int64.max, 1_000_000, 9_223_372_036_854_775),
    ] as [(Int64, Int64, Int64)])
  func `a limit is a quota, rounded down but never below what the kernel takes`(
    millicores: Int64, period: Int64, quota: Int64
  ) {
    #expect(CPULimit(millicores: millicores).quota(period: period) == quota)
  }

  @Test(
    arguments: [
      (500_000_000, "500m"), (2_000_000_000, "2"), (333_333_334, "0.333333334"),
      (1_000_500_000, "1.0005"), (1, "0.000000001"),
    ] as [(Int64, String)])
  func `prints itself exactly`(nanocores: Int64, text: String) {
    #expect(CPULimit(nanocores: nanocores).description == text)
  }
}
