// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import Control
@testable import Quantities
@testable import State
@testable import Syscalls

@Suite struct MemorySourceTests {
  @Test(
    arguments: [
      (.v1, nil, .thresholds), (.v1, [.memory], .thresholds), (.v2, nil, .events),
      (.v2, [.throttle], .events), (.v2, [.throttle, .memoryRefused], .events),
      (.v2, [.throttle, .memory], .hook),
    ] as [(CgroupVersion, HookIDs.Nets?, MemorySource)])
  func `it is the best that there is`(
    version: CgroupVersion, nets: HookIDs.Nets?, source: MemorySource
  ) {
    #expect(MemorySource.of(version, nets) == source)
  }

  @Test func `who is near enough to be told of is raised`() {
    let law = MemoryLaw(to: 1 << 30, version: .v2)
    for limit in stride(from: Int64(24) << 20, through: 900 << 20, by: 1 << 20) {
      let line = MemoryHigh.line(under: limit)
      // Told of before it is counted: a huge page less.
      let usage = max(0, line - MemoryLaw.near - (2 << 20) + 4096)
      #expect(law.need(MemoryReading(usage: usage)) > limit, "\(limit)")
    }
  }

  @Test(arguments: [
    ("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", true),
    ("30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", false),
    (
      """
      30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
      31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory

      """, false
    ), ("", false),
  ])
  func `memory is in one hierarchy`(mounts: String, isUnified: Bool) {
    #expect(CgroupMount.hasUnifiedMemory(CgroupMount.parse(mounts)) == isUnified)
  }
}
