// SPDX-License-Identifier: Apache-2.0

/// Which interface limits are written through.
package enum CgroupVersion: String, Sendable {
  /// One hierarchy a controller (or a few); the cpu controller is on one of them.
  case v1
  /// The unified hierarchy has the cpu controller.
  case v2

  /// The number in its name.
  package var number: Int64 {
    switch self {
    case .v1: 1
    case .v2: 2
    }
  }

  /// Reads ``number`` back.
  package init(number: Int64) { self = number == 1 ? .v1 : .v2 }

  /// Whether there is memory.high, above which the kernel slows a group down; if not, a group at its
  /// limit is killed without warning, and thresholds of its use are what reports its growth.
  package var hasMemoryHigh: Bool { self == .v2 }

  /// Whether the kernel reports use that crosses a threshold, up or down, and a group at its limit,
  /// by a descriptor each; if not, memory.events reports a limit that was met, and OOM kills.
  package var hasUsageThresholds: Bool { self == .v1 }

  /// Whether the kernel counts OOM kills for the groups above that of the process, too
  /// (memory.events; cgroup v1's memory.oom_control has the group's own).
  package var countsKillsBelow: Bool { self == .v2 }

  /// Whether the kernel refuses a memory limit below the use (mem_cgroup_resize_max of
  /// mm/memcontrol-v1.c); if not, such a limit kills.
  package var refusesLimitBelowUse: Bool { self == .v1 }

  /// Whether the kernel reports the end of a group's last process (cgroup.events).
  package var reportsLastProcess: Bool { self == .v2 }

  /// Whether the kernel refuses a CPU limit above that of the group around it
  /// (tg_cfs_schedulable_down of kernel/sched/core.c).
  package var refusesLimitAboveParent: Bool { self == .v1 }

  /// Whether a group can be a partition, which keeps its CPUs from the others
  /// (cpuset.cpus.partition).
  package var hasPartitions: Bool { self == .v2 }
}
