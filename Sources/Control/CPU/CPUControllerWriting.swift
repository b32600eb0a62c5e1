// SPDX-License-Identifier: Apache-2.0
internal import Quantities

extension CPUController {
  /// The bounds, with what the container started with as the floor while it settles.
  func heldBounds(_ now: Nanoseconds) -> QuotaBounds {
    guard now < settling.until else { return bounds }
    return QuotaBounds(
      floor: max(bounds.floor, min(settling.quota, quota)), ceiling: bounds.ceiling)
  }

  /// What of a decision may be written now, if anything.
  ///
  /// - Parameters:
  ///   - wanted: What the law wants.
  ///   - now: The time.
  ///   - left: What is left to use in the period; more than any quota where that is not known.
  ///   - periodEnd: When the period ends; nil where that is not known.
  /// - Returns: nil for nothing.
  mutating func permit(
    _ wanted: QuotaDecision, at now: Nanoseconds, left: Nanoseconds = .max / 2,
    periodEnd: Nanoseconds? = nil
  ) -> QuotaDecision? {
    guard parameters.keepsBooks else { return wanted }
    if parameters.isShared {
      // The limit is its application's: what writes a grant accounts for it (MemberBooks).
      let isDue = wanted.quota < quota ? now >= lastReturn + parameters.period : now >= mayRaiseFrom
      return isDue ? wanted : nil
    }
    if wanted.quota < quota {
      pending = nil
      guard now >= lastReturn + parameters.period else { return nil }
      // A cut is a refill too: a cut that would be too much waits for the next period.
      if books.grant(wanted.quota) >= wanted.quota { return wanted }
      counters.deferrals += 1
      return nil
    }
    guard now >= mayRaiseFrom else { return nil }
    var granted = books.grant(wanted.quota, periodEnd: periodEnd)
    if granted >= wanted.quota { return wanted }
    counters.deferrals += 1
    if let periodEnd {
      // The rest at the boundary; the law asks no process again until then.
      pending = (
        QuotaDecision(quota: wanted.quota, rule: .due), periodEnd + parameters.boundaryDelay,
        periodEnd
      )
      allowedFrom = periodEnd + parameters.boundaryDelay
      // Any write is a refill: until then it may have what is due, also where that is a lower quota.
      if granted <= quota {
        return granted >= max(bounds.floor, left + parameters.slice)
          ? QuotaDecision(quota: granted, rule: .advance) : nil
      }
    } else {
      // A raise is worth its refill when it brings half of what is missing, or the last quarter.
      let isNear = quota >= wanted.quota / 4 * 3
      let least = isNear ? wanted.quota : quota + (wanted.quota - quota + 1) / 2
      if granted < least {
        allowedFrom = max(now + parameters.shortestSample, books.moment(of: least))
        // By then the window may be another one, in which nothing has been used yet.
        pending = (wanted, allowedFrom, nil)
        return nil
      }
      // A demand that is left a sliver below the limit leaves the limit nothing to drain by.
      granted = min(granted, max(least, wanted.quota / 4 * 3))
    }
    return granted > quota ? QuotaDecision(quota: granted, rule: wanted.rule) : nil
  }

  /// Tries again what the budget refused.
  mutating func settle(
    _ due: QuotaDecision, periodEnd: Nanoseconds?, _ start: Nanoseconds, _ used: Nanoseconds,
    _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Step {
    pending = nil
    // The raise of the period before does not count in this one.
    if periodEnd != nil { lastRaise = min(lastRaise, now - parameters.period) }
    let wanted = QuotaDecision(quota: bounds.clamp(due.quota), rule: due.rule)
    var decision: QuotaDecision?
    if wanted.quota > quota {
      decision = permit(wanted, at: now, periodEnd: periodEnd.map { $0 + parameters.period })
    }
    if let decision { set(decision, at: now) }
    var step = next(start, used, usage, now)
    step.decision = decision
    step.use = used
    return step
  }

  mutating func set(_ decision: QuotaDecision, at now: Nanoseconds) {
    if decision.quota > quota || decision.rule == .advance {
      if pending?.periodEnd == nil { pending = nil }
      lastRaise = now
    } else {
      lastReturn = now
    }
    quota = decision.quota
  }
}
