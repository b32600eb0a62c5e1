// SPDX-License-Identifier: Apache-2.0

extension CFSBandwidth {
  /// What a service manager makes of this limit when a runtime has asked it for the container's
  /// scope, and what it writes whenever it applies the scope's properties again.
  ///
  /// runc rounds CPUQuotaPerSecUSec up to whole percents, for systemd counts in those; systemd
  /// takes no quota below 1 ms and makes the period longer instead, and has one period for all that
  /// have no quota (systemd.resource-control(5), CPUQuota= and CPUQuotaPeriodSec=).
  package var asUnitProperty: CFSBandwidth {
    guard let quota else { return CFSBandwidth(quota: nil) }
    let second: Int64 = 1_000_000
    let percent = second / 100
    let perSecond = Self.scaled(quota, by: second, over: period)
    let rounded = Self.scaled(perSecond, by: 1, over: percent, roundingUp: true)
    // A product that saturates is no limit that a kernel takes either.
    let share = Self.scaled(max(1, rounded), by: percent, over: 1)
    let shortest = Self.scaled(Self.minimum, by: second, over: share, roundingUp: true)
    let long = max(min(period, second), shortest)
    return CFSBandwidth(
      quota: max(Self.minimum, Self.scaled(share, by: long, over: second)), period: long)
  }

  /// The most in whole percents that is no more than this; this where there is none.
  ///
  /// A service manager makes no more of it, not even for the moment until the runtime has written
  /// the container's own group.
  package var inWholePercents: CFSBandwidth {
    guard let quota else { return self }
    let percents = Self.scaled(quota, by: 100, over: period)
    let whole = Self.scaled(percents, by: period, over: 100)
    return whole < Self.minimum ? self : CFSBandwidth(quota: whole, period: period)
  }
}
