// SPDX-License-Identifier: Apache-2.0

/// A CPU limit in nanocores: fine enough to hold any quota and period of CFS bandwidth control.
package struct CPULimit: Comparable, Hashable, Sendable, CustomStringConvertible {
  /// The smallest quota the kernel takes, in microseconds (kernel/sched/core.c,
  /// tg_set_cfs_bandwidth).
  package static let smallestQuota: Int64 = 1000

  /// The period of a group that nobody set one for, in microseconds (kernel/sched/fair.c).
  package static let defaultPeriod: Int64 = 100_000

  /// The smallest limit that can be asked for: the smallest quota in a period of 100 ms.
  package static let smallest = CPULimit(nanocores: 10_000_000)

  /// The least that a floor can be: the smallest quota in the longest period, a second.
  ///
  /// (kernel/sched/core.c, max_cfs_quota_period.) In a shorter one the kernel's least is more, and
  /// then that is the floor.
  package static let smallestFloor = CPULimit(nanocores: 1_000_000)

  /// Billionths of a core.
  package let nanocores: Int64

  /// Makes a limit from billionths of a core.
  package init(nanocores: Int64) { self.nanocores = nanocores }

  /// The limit that a quantity in cores asks for, at most `Int64.max` nanocores.
  package init(_ quantity: CPUQuantity) { self.init(millicores: quantity.millicores) }

  /// Makes a limit from thousandths of a core, at most `Int64.max` nanocores.
  package init(millicores: Int64) {
    let (product, overflowed) = millicores.multipliedReportingOverflow(by: 1_000_000)
    nanocores = overflowed ? .max : product
  }

  /// The limit that a CFS quota in a period is; nil where the quota is not positive, which means
  /// no limit (config.json and cpu.cfs_quota_us write -1).
  ///
  /// Rounded up, so that ``quota(period:)`` gives the very same quota back.
  ///
  /// - Parameters:
  ///   - quota: Microseconds of CPU time a period.
  ///   - period: Microseconds; 0 stands for the kernel's 100 ms.
  package init?(quota: Int64, period: Int64) {
    if quota <= 0 { return nil }
    let period = Int128(period > 0 ? period : Self.defaultPeriod)
    nanocores = Int64(clamping: (Int128(quota) * 1_000_000_000 + period - 1) / period)
  }

  /// The quota of this limit in a period, both in microseconds: rounded down, because a limit is
  /// not to be exceeded, but never below what the kernel takes.
  package func quota(period: Int64) -> Int64 {
    max(Int64(clamping: Int128(nanocores) * Int128(period) / 1_000_000_000), Self.smallestQuota)
  }

  /// Orders by size.
  package static func < (a: CPULimit, b: CPULimit) -> Bool { a.nanocores < b.nanocores }

  /// As a ``CPUQuantity`` where it is one, else in cores with all its decimals: `0.333333334`.
  package var description: String {
    if nanocores % 1_000_000 == 0 { return "\(CPUQuantity(millicores: nanocores / 1_000_000))" }
    let (cores, rest) = nanocores.quotientAndRemainder(dividingBy: 1_000_000_000)
    var decimals = String(rest + 1_000_000_000).dropFirst()
    while decimals.hasSuffix("0") { decimals.removeLast() }
    return "\(cores).\(decimals)"
  }
}
