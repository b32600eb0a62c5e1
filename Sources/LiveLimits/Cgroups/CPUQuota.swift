// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A CFS bandwidth limit as the kernel holds it: how much CPU time in each period.
///
/// Documentation/scheduler/sched-bwc.rst; kernel/sched/core.c tg_set_cfs_bandwidth().
public struct CPUQuota: Hashable, Sendable {
  /// Microseconds of CPU time a period, or nil for no limit ("-1" on v1, "max" on v2).
  public var quota: Int64?
  /// The period in microseconds.
  public var period: Int64

  /// The kernel's default period: 100 ms.
  public static let defaultPeriod: Int64 = 100_000
  /// The least quota the kernel accepts: 1 ms (min_cfs_quota_period).
  public static let minimum: Int64 = 1_000

  /// Makes a limit.
  public init(quota: Int64?, period: Int64 = CPUQuota.defaultPeriod) {
    self.quota = quota
    self.period = period
  }

  /// The limit in cores; nil for none.
  public var cores: Double? { quota.map { Double($0) / Double(period) } }

  /// The limit in nanocores, rounded up so that under the same period it is this limit again; nil
  /// for none.
  public var nanocores: Int64? {
    quota.map { Self.scaled($0, by: 1_000_000_000, over: period, roundingUp: true) }
  }

  /// `value * factor / divisor` of what is not negative, without overflow on the way; saturates.
  ///
  /// Limits are read from files and requests that others write: any number may come.
  static func scaled(
    _ value: Int64, by factor: Int64, over divisor: Int64, roundingUp: Bool = false
  ) -> Int64 {
    guard divisor > 0 else { return .max }
    let product = max(0, Int128(value) * Int128(factor))
    return Int64(clamping: (product + (roundingUp ? Int128(divisor) - 1 : 0)) / Int128(divisor))
  }

  /// Whether the kernel takes it: at least 1 ms of quota, a period of 1 ms to 1 s
  /// (kernel/sched/core.c, tg_set_cfs_bandwidth).
  public var isAcceptable: Bool {
    (1_000...1_000_000).contains(period) && (quota ?? Self.minimum) >= Self.minimum
  }

  /// What an update makes of it.
  ///
  /// - Parameters:
  ///   - quota: In microseconds, -1 for none; nil for what it was.
  ///   - period: In microseconds; nil for what it was.
  /// - Returns: What is declared from then on, acceptable or not.
  public func redeclared(quota: Int64?, period: Int64?) -> CPUQuota {
    CPUQuota(
      quota: quota.map { $0 > 0 ? $0 : nil } ?? self.quota,
      period: period.flatMap { $0 > 0 ? $0 : nil } ?? self.period)
  }

  /// Takes what v1's two files say.
  public init?(cfsQuota: Int64, cfsPeriod: Int64) {
    if cfsPeriod <= 0 { return nil }
    self.init(quota: cfsQuota < 0 ? nil : cfsQuota, period: cfsPeriod)
  }

  /// Reads v2's cpu.max: "50000 100000" or "max 100000".
  public init?(cpuMax: String) {
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
  var cpuMax: String { (quota.map { "\($0)" } ?? "max") + " \(period)" }
}

/// One value for one file of a cgroup.
public struct CgroupWrite: Equatable, Sendable {
  /// The file's name inside the cgroup's directory.
  public let file: String
  /// What is written into it.
  public let value: String
}

extension CPUQuota {
  /// The writes that bring a cgroup from `old` to this limit.
  ///
  /// Each write of a quota refills it (kernel/sched/core.c __refill_cfs_bandwidth_runtime), so
  /// there is one write where one suffices. Where the period changes too, v1 has two files and no
  /// way to change both at once: the order keeps the rate between the two from going above both.
  public func writes(from old: CPUQuota, version: CgroupLocation.Version) -> [CgroupWrite] {
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
