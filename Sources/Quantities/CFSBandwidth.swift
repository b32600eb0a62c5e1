// SPDX-License-Identifier: Apache-2.0

/// A CFS bandwidth limit as the kernel holds it: how much CPU time in each period.
///
/// Documentation/scheduler/sched-bwc.rst; kernel/sched/core.c tg_set_cfs_bandwidth().
package struct CFSBandwidth: Hashable, Sendable {
  /// Microseconds of CPU time a period, or nil for no limit ("-1" on v1, "max" on v2).
  package var quota: Int64?
  /// The period in microseconds.
  package var period: Int64

  /// The kernel's default period: 100 ms.
  package static let defaultPeriod: Int64 = 100_000
  /// The least quota the kernel accepts: 1 ms (min_cfs_quota_period).
  package static let minimum: Int64 = 1_000

  /// Makes a limit.
  package init(quota: Int64?, period: Int64 = CFSBandwidth.defaultPeriod) {
    self.quota = quota
    self.period = period
  }

  /// The limit in cores; nil for none.
  package var cores: Double? { quota.map { Double($0) / Double(period) } }

  /// The limit in whole millicores, rounded up, as people write it; nil for none.
  package var inMillicores: CPUAmount? {
    quota.map { CPUAmount(millicores: Self.scaled($0, by: 1000, over: period, roundingUp: true)) }
  }

  /// The limit in nanocores, rounded up so that under the same period it is this limit again; nil
  /// for none.
  package var nanocores: Int64? {
    quota.map { Self.scaled($0, by: 1_000_000_000, over: period, roundingUp: true) }
  }

  /// `value * factor / divisor` of what is not negative, without overflow on the way; saturates.
  ///
  /// Limits are read from files and requests that others write: any number may come.
  package static func scaled(
    _ value: Int64, by factor: Int64, over divisor: Int64, roundingUp: Bool = false
  ) -> Int64 {
    guard divisor > 0 else { return .max }
    let product = max(0, Int128(value) * Int128(factor))
    return Int64(clamping: (product + (roundingUp ? Int128(divisor) - 1 : 0)) / Int128(divisor))
  }

  /// Whether the kernel takes it: at least 1 ms of quota, a period of 1 ms to 1 s
  /// (kernel/sched/core.c, tg_set_cfs_bandwidth).
  package var isAcceptable: Bool {
    (1_000...1_000_000).contains(period) && (quota ?? Self.minimum) >= Self.minimum
  }

  /// What an update makes of it.
  ///
  /// - Parameters:
  ///   - quota: In microseconds, -1 for none; nil for what it was.
  ///   - period: In microseconds; nil for what it was.
  /// - Returns: What is declared from then on, acceptable or not.
  package func redeclared(quota: Int64?, period: Int64?) -> CFSBandwidth {
    CFSBandwidth(
      quota: quota.map { $0 > 0 ? $0 : nil } ?? self.quota,
      period: period.flatMap { $0 > 0 ? $0 : nil } ?? self.period)
  }
}
