// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import LiveLimits

@Suite struct AttachmentTests {
  @Test(
    arguments: [
      // A group's pressure, in µs.
      ("some avg10=0.00 avg60=0.00 avg300=0.00 total=4711\nfull avg10=0.00 total=9\n", 4_711_000),
      // /proc/PID/schedstat: run, waited, slices.
      ("157000000 4711 12\n", 4711),
      // cgroup v1's cpu.stat, with and without kernel.sched_schedstats.
      ("nr_periods 5\nnr_throttled 1\nthrottled_time 99\nwait_sum 4711\n", 4711),
      ("nr_periods 5\nnr_throttled 1\nthrottled_time 99\n", nil), ("", nil), ("full x=1\n", nil),
    ] as [(String, Int64?)])
  func `the time that tasks waited for a CPU is read in each form`(text: String, waited: Int64?) {
    #expect(ContainerHandles.waited(in: text) == waited)
  }
}
