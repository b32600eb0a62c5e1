// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container declared and what the annotations allow: where its bounds come from.
///
/// Cores are counted in nanocores, so that a bound means the same under any period.
package struct CPUBase: Equatable, Sendable {
  /// The declared limit, config.json's or the last update's: it stays the base.
  package var declared: CFSBandwidth
  /// The least it may be given, in nanocores.
  package var floor: Int64
  /// The most it may be given where an annotation says so, in nanocores; else ``declared`` is.
  package var explicitCeiling: Int64?
  /// What nothing may exceed: the operator's ceiling and the node's CPUs, in nanocores.
  package var limit: Int64
  /// What the low-level runtime was told to write, where that is not what was declared: it writes
  /// it again on any update, and so does a service manager that it has asked for a scope.
  package var told: CFSBandwidth?
  /// The limit of its application in nanocores, as it was read last, if that is the most that a
  /// container in two groups may have; nil for others.
  package var application: Int64?
  /// The limit of the container's own group, as it was read last, where the limit that moves is that of
  /// a group around it; nil for a container that has one group.
  package var inner: CFSBandwidth?
  /// Whether programs see the limit that moves, and count CPUs by it: JVM, Go and .NET round up.
  package var countsCPUs = false
  /// What its earlier runs needed at first, in nanocores; nil once the container was found.
  ///
  /// Until then it has what it declares: the low-level runtime works in its group, too.
  package var predicted: Int64?
  /// The limits above its group; found out anew for each supervisor.
  package var above = LimitsAbove()

  /// Makes a base.
  package init(declared: CFSBandwidth, floor: Int64, explicitCeiling: Int64?, limit: Int64) {
    self.declared = declared
    self.floor = floor
    self.explicitCeiling = explicitCeiling
    self.limit = limit
  }

  /// The CFS period in nanoseconds.
  package var period: Nanoseconds { CFSBandwidth.scaled(declared.period, by: 1000, over: 1) }

  /// What the container declared, in nanocores; nil when it declared nothing.
  package var declaredCores: Int64? { declared.nanocores }

  /// What a limit has above what was declared, in nanocores; nothing where nothing was.
  package func excess(of limit: CFSBandwidth) -> Int64 {
    guard let declaredCores else { return 0 }
    return max(0, (limit.nanocores ?? self.limit) - declaredCores)
  }

  /// The most it may be given, in nanocores.
  package var ceiling: Int64 {
    // The inner limit of a member is raised when its application grants more.
    let inner = application == nil ? inner?.nanocores : nil
    return min(
      limit, above.most ?? .max, inner ?? .max, explicitCeiling ?? declaredCores ?? limit)
  }

  /// The limit that the container's own group is to have at first, if the limit that moves is that of
  /// a group around it: the most that it may have.
  package var firstInner: CFSBandwidth {
    guard let explicitCeiling else { return declared }
    return limit(of: quota(ofCores: min(limit, explicitCeiling, application ?? .max)))
  }

  /// Takes note of the limit of the container's own group: what an engine, a kubelet or a person
  /// writes there is what it declares from then on.
  ///
  /// An annotation may allow more, and then that group has to have it.
  ///
  /// - Parameters:
  ///   - found: The limit that was read.
  ///   - raise: Raises it.
  /// - Returns: Whether another one than before is declared.
  package mutating func takeInner<Failure: Error>(
    _ found: CFSBandwidth, raise: (CFSBandwidth) throws(Failure) -> Void
  ) -> Bool {
    guard let before = inner else { return false }
    // systemd writes what the runtime told it whenever it looks at the scope.
    let isOld = found == told || found == told?.asUnitProperty
    let isNew = found != before && !isOld
    if isNew { (declared, told) = (found, found) }
    inner = found
    let most = firstInner
    // Refused, it stays as it is, and the next look tries again.
    if most.nanocores ?? .max > found.nanocores ?? .max, (try? raise(most)) != nil { inner = most }
    return isNew
  }

  /// What it may move between, in nanoseconds of CPU time a period.
  ///
  /// Without an alarm a container that wakes waits up to 50 ms for its first look, so it is not
  /// taken below half of what it declared.
  ///
  /// - Parameter hasAlarm: Whether a call comes when it starts to work.
  /// - Returns: The bounds, never below the least quota the kernel takes.
  package func bounds(hasAlarm: Bool) -> QuotaBounds {
    let least = leastCores
    let floor = hasAlarm ? least : max(least, min(declaredCores ?? limit, ceiling) / 2)
    let minimum = CFSBandwidth.minimum * 1000
    return QuotaBounds(
      floor: max(minimum, quota(ofCores: floor)), ceiling: max(minimum, quota(ofCores: ceiling)))
  }

  /// The least it is given, in nanocores: where programs count CPUs by it, enough for as many as they
  /// count by what is declared.
  package var leastCores: Int64 {
    guard countsCPUs, let declaredCores else { return floor }
    let most = min(declaredCores, ceiling)
    guard most > Self.core else { return floor }
    return max(floor, min(most, (most - 1) / Self.core * Self.core + Self.core / 100))
  }

  private static let core: Int64 = 1_000_000_000

  /// What the container starts with, and goes back to: what it declared, within its bounds.
  package func initial(hasAlarm: Bool = true) -> Nanoseconds {
    bounds(hasAlarm: hasAlarm).clamp(quota(ofCores: declaredCores ?? limit))
  }

  /// Nanoseconds of CPU time a period as the limit that is written, to the microsecond below.
  package func limit(of quota: Nanoseconds) -> CFSBandwidth {
    CFSBandwidth(quota: max(CFSBandwidth.minimum, quota / 1000), period: declared.period)
  }

  /// A limit as nanoseconds of CPU time a period of ours; none is all there is.
  package func quota(of limit: CFSBandwidth) -> Nanoseconds {
    guard let quota = limit.quota else { return self.quota(ofCores: self.limit) }
    return CFSBandwidth.scaled(quota, by: period, over: limit.period)
  }

  /// Cores as nanoseconds of CPU time a period, rounded down.
  package func quota(ofCores nanocores: Int64) -> Nanoseconds {
    CFSBandwidth.scaled(nanocores, by: period, over: 1_000_000_000)
  }

  /// Nanoseconds of CPU time a period as cores, rounded up: ``quota(ofCores:)`` of it is the same.
  package func cores(of quota: Nanoseconds) -> Int64 {
    CFSBandwidth.scaled(quota, by: 1_000_000_000, over: period, roundingUp: true)
  }
}

extension CPUBase {
  package init?(_ keyed: KeyValueText) {
    guard let period = keyed[int: "declaredPeriod"], period > 0,
      let floor = keyed[int: "floor"], let limit = keyed[int: "limit"]
    else { return nil }
    self.init(
      declared: CFSBandwidth(quota: keyed[int: "declaredQuota"], period: period), floor: floor,
      explicitCeiling: keyed[int: "ceiling"], limit: limit)
    predicted = keyed[int: "predictedCPU"]
    if let period = keyed[int: "toldPeriod"], period > 0 {
      told = CFSBandwidth(quota: keyed[int: "toldQuota"], period: period)
    }
    application = keyed[int: "applicationCPU"]
    countsCPUs = keyed[int: "countsCPUs"] == 1
    if let period = keyed[int: "innerPeriod"], period > 0 {
      inner = CFSBandwidth(quota: keyed[int: "innerQuota"], period: period)
    }
  }

  package func write(to keyed: inout KeyValueText) {
    keyed[int: "declaredQuota"] = declared.quota
    keyed[int: "declaredPeriod"] = declared.period
    keyed[int: "floor"] = floor
    keyed[int: "ceiling"] = explicitCeiling
    keyed[int: "limit"] = limit
    keyed[int: "predictedCPU"] = predicted
    keyed[int: "toldQuota"] = told?.quota
    keyed[int: "toldPeriod"] = told?.period
    keyed[int: "applicationCPU"] = application
    keyed[int: "countsCPUs"] = countsCPUs ? 1 : nil
    keyed[int: "innerQuota"] = inner?.quota
    keyed[int: "innerPeriod"] = inner?.period
  }
}
