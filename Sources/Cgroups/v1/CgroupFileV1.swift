// SPDX-License-Identifier: Apache-2.0

extension CgroupFile {
  /// Documentation/admin-guide/cgroup-v1.
  var nameV1: String? {
    switch self {
    case .processes: "cgroup.procs"
    case .cpuQuota: "cpu.cfs_quota_us"
    case .cpuPeriod: "cpu.cfs_period_us"
    case .cpuStatistics: "cpu.stat"
    case .cpuUsage: "cpuacct.usage"
    case .memoryLimit: "memory.limit_in_bytes"
    case .memoryAndSwapLimit: "memory.memsw.limit_in_bytes"
    case .memoryUsage: "memory.usage_in_bytes"
    case .memoryPeak: "memory.max_usage_in_bytes"
    case .memoryStatistics: "memory.stat"
    case .memoryKills: "memory.oom_control"
    case .cpus: "cpuset.cpus"
    case .effectiveCPUs: "cpuset.effective_cpus"
    case .effectiveNodes: "cpuset.mems"
    case .freezerState: "freezer.state"
    case .taskCount: "pids.current"
    case .events, .controllers, .memoryHigh, .cpuPressure, .partition, .isolatedCPUs: nil
    }
  }
}
