// SPDX-License-Identifier: Apache-2.0

extension CgroupFile {
  /// Documentation/admin-guide/cgroup-v2.rst.
  var nameV2: String? {
    switch self {
    case .processes: "cgroup.procs"
    case .events: "cgroup.events"
    case .controllers: "cgroup.controllers"
    case .cpuQuota: "cpu.max"
    case .cpuStatistics: "cpu.stat"
    case .memoryLimit: "memory.max"
    case .memoryHigh: "memory.high"
    case .memoryUsage: "memory.current"
    case .memoryPeak: "memory.peak"
    case .memoryStatistics: "memory.stat"
    case .memoryKills: "memory.events"
    case .cpus: "cpuset.cpus"
    case .effectiveCPUs: "cpuset.cpus.effective"
    case .effectiveNodes: "cpuset.mems.effective"
    case .partition: "cpuset.cpus.partition"
    case .isolatedCPUs: "cpuset.cpus.isolated"
    case .taskCount: "pids.current"
    case .cpuPressure: "cpu.pressure"
    case .cpuPeriod, .cpuUsage, .memoryAndSwapLimit, .freezerState: nil
    }
  }
}
