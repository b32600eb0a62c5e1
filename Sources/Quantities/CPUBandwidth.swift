// SPDX-License-Identifier: Apache-2.0

/// A CPU limit as CFS has it: so much CPU time in each period
/// (Documentation/scheduler/sched-bwc.rst).
package struct CPUBandwidth: Equatable, Hashable, Sendable {
  /// The period of a group that names none, in µs (kernel/sched/fair.c: default_cfs_period).
  package static let defaultPeriod: Int64 = 100_000
  /// The least quota and period the kernel takes, in µs (kernel/sched/core.c:
  /// min_cfs_quota_period); anything below is EINVAL.
  package static let minimum: Int64 = 1_000

  /// CPU time in each period, in µs; more than the period is more than one CPU.
  package var quota: Int64
  /// How long a period is, in µs.
  package var period: Int64

  /// Makes a limit from its parts.
  ///
  /// - Parameters:
  ///   - quota: CPU time in each period, in µs; above 0.
  ///   - period: The period, in µs; above 0.
  package init(quota: Int64, period: Int64 = CPUBandwidth.defaultPeriod) {
    self.quota = quota
    self.period = period
  }

  /// The limit that grants at least so many thousandths of a CPU, never less than the kernel takes.
  package init(millicores: Int64, period: Int64 = CPUBandwidth.defaultPeriod) {
    let quota = (Int128(millicores) * Int128(period) + 999) / 1_000
    self.init(quota: max(Int64(clamping: quota), Self.minimum), period: period)
  }

  /// Thousandths of a CPU, rounded down: what can be promised.
  package var millicores: Int64 { Int64(clamping: Int128(quota) * 1_000 / Int128(period)) }

  /// Thousandths of a CPU, rounded up: what may be used.
  package var millicoresRoundedUp: Int64 {
    Int64(clamping: (Int128(quota) * 1_000 + Int128(period) - 1) / Int128(period))
  }

  /// How many whole CPUs this is; nil for a fraction.
  package var wholeCPUs: Int64? { quota % period == 0 ? quota / period : nil }

  /// The same share of a CPU over another period, rounded up to a µs.
  package func over(period: Int64) -> CPUBandwidth {
    let quota = (Int128(quota) * Int128(period) + Int128(self.period) - 1) / Int128(self.period)
    return CPUBandwidth(quota: max(Int64(clamping: quota), Self.minimum), period: period)
  }
}
