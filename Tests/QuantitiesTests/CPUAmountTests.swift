// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Quantities

@Suite struct CPULimitTests {
  @Test(arguments: [1000, 3333, 99_999, 100_000, 250_001, 1_000_000] as [Int64])
  func `a quota comes back from nanocores as it was, whatever the period`(period: Int64) {
    for quota in [1000, 1001, 1003, 33_333, 100_001, 7_777_777] as [Int64] {
      let cores = CFSBandwidth(quota: quota, period: period).nanocores ?? 0
      #expect(CFSBandwidth.scaled(cores, by: period, over: 1_000_000_000) == quota)
    }
  }

  @Test(
    arguments: [
      (150_000, 100_000, "1500m"), (33_333, 100_000, "334m"), (1000, 1_000_000, "1m"),
    ] as [(Int64, Int64, String)])
  func `a quota is written in whole millicores, rounded up`(
    quota: Int64, period: Int64, text: String
  ) {
    #expect(CFSBandwidth(quota: quota, period: period).inMillicores?.description == text)
  }

  @Test(
    arguments: [
      (500_000_000, "500m"), (2_000_000_000, "2"), (333_333_334, "0.333333334"),
      (1_000_500_000, "1.0005"), (1, "0.000000001"),
    ] as [(Int64, String)])
  func `prints itself exactly`(nanocores: Int64, text: String) {
    #expect(CPUAmount(nanocores: nanocores).description == text)
  }
}
