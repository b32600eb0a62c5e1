// SPDX-License-Identifier: Apache-2.0
package import Quantities

extension CFSBandwidth {
  /// Takes what v1's two files say.
  package init?(cfsQuota: Int64, cfsPeriod: Int64) {
    if cfsPeriod <= 0 { return nil }
    self.init(quota: cfsQuota < 0 ? nil : cfsQuota, period: cfsPeriod)
  }

  /// Reads v2's cpu.max: "50000 100000" or "max 100000".
  package init?(cpuMax: String) {
    let fields = cpuMax.split(whereSeparator: { $0 == " " || $0 == "\n" })
    guard fields.count == 2, let period = Int64(fields[1]), period > 0 else { return nil }
    if fields[0] == "max" {
      self.init(quota: nil, period: period)
    } else if let quota = Int64(fields[0]) {
      self.init(quota: quota, period: period)
    } else {
      return nil
    }
  }

  /// The text of v2's cpu.max.
  package var cpuMax: String { (quota.map { "\($0)" } ?? "max") + " \(period)" }
}

/// One value for one file of a cgroup.
package struct CgroupWrite: Equatable, Sendable {
  /// The file's name inside the cgroup's directory.
  package let file: String
  /// What is written into it.
  package let value: String
}

extension CFSBandwidth {
  /// The writes that bring a cgroup from `old` to this limit.
  ///
  /// Each write of a quota refills it (kernel/sched/core.c __refill_cfs_bandwidth_runtime), so
  /// there is one write where one suffices. Where the period changes too, v1 has two files and no
  /// way to change both at once: the order keeps the rate between the two from going above both.
  package func writes(from old: CFSBandwidth, version: CgroupVersion) -> [CgroupWrite] {
    switch version {
    case .v2:
      return [CgroupWrite(file: "cpu.max", value: cpuMax)]
    case .v1:
      let quotaWrite = CgroupWrite(file: "cpu.cfs_quota_us", value: "\(quota ?? -1)")
      guard period != old.period else { return [quotaWrite] }
      let periodWrite = CgroupWrite(file: "cpu.cfs_period_us", value: "\(period)")
      return period > old.period ? [periodWrite, quotaWrite] : [quotaWrite, periodWrite]
    }
  }
}
