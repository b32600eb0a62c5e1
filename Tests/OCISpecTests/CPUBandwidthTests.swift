// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Quantities

@Suite struct CPUBandwidthTests {
  @Test(arguments: [
    (CPUBandwidth(quota: 150_000), Int64(1500), Int64(1500)),
    (CPUBandwidth(quota: 33_333), 333, 334), (CPUBandwidth(quota: 1_000, period: 1_000_000), 1, 1),
    (CPUBandwidth(quota: .max, period: 1), .max, .max),
    (CPUBandwidth(quota: 1, period: .max), 0, 1),
  ])
  func `is thousandths of a CPU, rounded either way`(
    _ cpu: CPUBandwidth, _ down: Int64, _ up: Int64
  ) {
    #expect(cpu.millicores == down)
    #expect(cpu.millicoresRoundedUp == up)
  }

  @Test(arguments: [
    (Int64(500), Int64(100_000), Int64(50_000)), (1, 100_000, 1_000), (333, 1_000_000, 333_000),
    (1, 1_500, 1_000), (1501, 10_000, 15_010), (.max, 100_000, .max),
  ])
  func `is made of thousandths, and never less than the kernel takes`(
    _ millicores: Int64, _ period: Int64, _ quota: Int64
  ) {
    let cpu = CPUBandwidth(millicores: millicores, period: period)
    #expect(cpu == CPUBandwidth(quota: quota, period: period))
  }

  @Test func `knows whole CPUs from fractions`() {
    #expect(CPUBandwidth(quota: 200_000).wholeCPUs == 2)
    #expect(CPUBandwidth(quota: 150_000).wholeCPUs == nil)
    #expect(CPUBandwidth(quota: 50_000).wholeCPUs == nil)
  }

  @Test func `keeps its share over another period`() {
    #expect(
      CPUBandwidth(quota: 50_000).over(period: 10_000) == CPUBandwidth(quota: 5_000, period: 10_000)
    )
    #expect(
      CPUBandwidth(quota: 33_333).over(period: 10_000) == CPUBandwidth(quota: 3_334, period: 10_000)
    )
    #expect(CPUBandwidth(quota: 2_000).over(period: 10_000).quota == 1_000)
  }
}
