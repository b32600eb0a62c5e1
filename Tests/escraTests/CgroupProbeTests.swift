// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import escra

@Suite struct CgroupProbeTests {
  @Test(
    arguments: [
      ("max\n", Limit.unlimited), ("9223372036854771712\n", .unlimited),
      ("536870912\n", .at(512 << 20)),
      ("0\n", .at(0)), ("\n", .unknown), ("", .unknown), ("x\n", .unknown),
    ] as [(String, Limit<Int64>)])
  func `memory limits of v1 and v2`(text: String, limit: Limit<Int64>) {
    #expect(CgroupProbe.memoryLimit(text) == limit)
  }

  @Test(
    arguments: [
      ("nr_periods 5\nnr_throttled 2\nthrottled_time 1500\n", 1500),
      ("usage_usec 9\nnr_throttled 2\nthrottled_usec 7\nnr_bursts 0\n", 7000),
      ("usage_usec 9\n", nil), ("throttled_time x\n", nil), ("", nil),
    ] as [(String, Int64?)])
  func `throttled time of v1 and v2`(text: String, nanoseconds: Int64?) {
    #expect(UsageMeter.throttledTime(in: text) == nanoseconds)
  }

  private static let hybrid = """
    30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
    31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
    32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
    33 30 0:29 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct
    """
  private static let unified = "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

  @Test(
    arguments: [
      (hybrid, "/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpuacct/a/b"),
      (hybrid, "/sys/fs/cgroup/cpu/a/", "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpuacct/a"),
      (hybrid, "/a/b", "/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpuacct/a/b"),
      (hybrid, "a", "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpuacct/a"),
      (unified, "/sys/fs/cgroup/a.slice/b", "/sys/fs/cgroup/a.slice/b", nil),
      (unified, "/a", "/sys/fs/cgroup/a", nil),
    ] as [(String, String, String, String?)])
  func `a cgroup is found by its directory or its path`(
    mounts: String, path: String, cpu: String, cpuacct: String?
  ) {
    let location = locate(path, mounts: mounts)
    #expect(location?.cpu == cpu)
    #expect(location?.cpuacct == cpuacct)
  }

  @Test(arguments: ["/", "///", ""])
  func `the root is nobody's cgroup`(path: String) {
    #expect(locate(path, mounts: Self.hybrid) == nil)
  }
}
