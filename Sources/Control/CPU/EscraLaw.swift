// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Escra's control law: the rules of the authors' controller, as a pure function of reports.
///
/// Gregory Cusack et al., "Escra: Event-driven, Sub-second Container Resource Allocation",
/// ICDCS 2022; the constants are those of the published controller (ec_gcm, Manager.cpp). What it
/// does by accident is not copied; docs/law-escra.md lists each difference.
///
/// One report a period. The first rule that matches decides; after a change the window is empty.
package struct EscraLaw: Sendable {
  /// The constants of the law, at a period of 100 ms.
  package struct Parameters: Equatable, Sendable {
    /// The unit of a step: 30 ms a period, 0.3 of a core.
    package var slice: Nanoseconds
    /// How many slices a step up is, for a container throttled in every period: 20.
    package var aggressiveness: Double
    /// The window that throttles and leftovers are averaged over: 10 periods, one second.
    package var window: Int
    /// The share of throttled periods from which the quota goes up: a tenth.
    package var scaleUpAt: Double
    /// The share of throttled periods from which what lacks to the fair share is given: a half.
    package var fairShareAt: Double
    /// The share of the quota that may be left over before it is cut: a fifth.
    package var leftoverAt: Double
    /// What is kept in a cut: four fifths.
    package var scaleDown: Double
    /// The average leftover from which it is trimmed, and the trim itself: 5 ms.
    package var trim: Nanoseconds
    /// Silence after which a container is idle: 2 s.
    package var idleAfter: Nanoseconds
    /// What a container that wakes from idle gets at once: a core.
    package var jumpStart: Nanoseconds

    /// The authors' constants.
    package static let published = Parameters(
      slice: 30_000_000, aggressiveness: 20, window: 10, scaleUpAt: 0.1, fairShareAt: 0.5,
      leftoverAt: 0.2, scaleDown: 0.8, trim: 5_000_000, idleAfter: 2_000_000_000,
      jumpStart: 100_000_000)

    /// The same law for another period: whatever is CPU time a period is scaled with it.
    package func scaled(toPeriod period: Nanoseconds) -> Parameters {
      var scaled = self
      scaled.slice = slice * period / 100_000_000
      scaled.trim = trim * period / 100_000_000
      scaled.jumpStart = jumpStart * period / 100_000_000
      return scaled
    }
  }

  /// The application's side of a decision, in nanoseconds of CPU time a period.
  package struct Pool: Equatable, Sendable {
    /// What no member holds.
    package var unallocated: Nanoseconds
    /// The application's limit divided by its members.
    package var fairShare: Nanoseconds

    /// Makes a pool.
    package init(unallocated: Nanoseconds, fairShare: Nanoseconds) {
      self.unallocated = unallocated
      self.fairShare = fairShare
    }
  }

  /// What the law wants.
  package typealias Decision = QuotaDecision

  private let parameters: Parameters
  // The window as sums over a ring: at most `window` entries, the oldest overwritten.
  private var throttles: [Bool] = []
  private var leftovers: [Nanoseconds] = []
  private var next = 0

  /// A law with an empty window.
  package init(_ parameters: Parameters = .published) { self.parameters = parameters }

  /// Share of the window's periods that were throttled; periods that have not been count as not.
  var throttleMean: Double {
    Double(throttles.count { $0 }) / Double(parameters.window)
  }

  /// Mean quota left over in the window's periods, in nanoseconds; absent periods left nothing.
  var leftoverMean: Nanoseconds { leftovers.reduce(0, +) / Int64(parameters.window) }

  /// Takes one period's report and says what the quota should be.
  ///
  /// - Parameters:
  ///   - report: The period that has ended, or was cut short because the quota was used up.
  ///   - pool: What the application still has.
  ///   - bounds: What the container may move between.
  /// - Returns: nil to leave the quota as it is.
  package mutating func decide(
    _ report: PeriodReport, pool: Pool, bounds: QuotaBounds
  ) -> Decision? {
    note(report)
    guard let wanted = rule(for: report, pool: pool, floor: bounds.floor) else { return nil }
    // Never below what was used: a cut may not throttle the demand it was made from.
    let quota = bounds.clamp(
      wanted.quota < report.quota ? max(wanted.quota, min(report.use, report.quota)) : wanted.quota)
    guard quota != report.quota else { return nil }
    forget()
    return Decision(quota: quota, rule: wanted.rule)
  }

  /// Empties the window: what was seen under another quota says nothing about this one.
  package mutating func forget() {
    throttles.removeAll(keepingCapacity: true)
    leftovers.removeAll(keepingCapacity: true)
    next = 0
  }

  private mutating func note(_ report: PeriodReport) {
    if throttles.count < parameters.window {
      throttles.append(report.throttled)
      leftovers.append(report.remaining)
    } else {
      throttles[next] = report.throttled
      leftovers[next] = report.remaining
      next = (next + 1) % parameters.window
    }
  }

  private func rule(for report: PeriodReport, pool: Pool, floor: Nanoseconds) -> Decision? {
    let quota = report.quota
    if report.afterIdle && pool.unallocated > 0 && quota < parameters.jumpStart {
      // The authors set the quota to min(unallocated, a core), which can be less than it was.
      return Decision(
        quota: min(quota + pool.unallocated, parameters.jumpStart), rule: .jumpStart)
    }
    if quota < pool.fairShare && throttleMean > parameters.fairShareAt && pool.unallocated > 0 {
      let lack = pool.fairShare - quota
      let part = Double(lack) / Double(pool.fairShare)
      let add = lack > parameters.slice / 2 ? Int64(part * Double(lack)) : lack
      return Decision(quota: quota + min(pool.unallocated, add), rule: .fairShare)
    }
    if throttleMean >= parameters.scaleUpAt && pool.unallocated > 0 {
      let step = Int64(parameters.aggressiveness * throttleMean * Double(parameters.slice))
      return Decision(quota: quota + min(pool.unallocated, step), rule: .scaleUp)
    }
    if report.contended { return nil }
    if Double(report.remaining) > parameters.leftoverAt * Double(quota) && quota > floor {
      return Decision(
        quota: max(floor, Int64(parameters.scaleDown * Double(quota))), rule: .scaleDown)
    }
    if leftoverMean > parameters.trim && quota > floor {
      return Decision(quota: max(floor, quota - parameters.trim), rule: .trim)
    }
    return nil
  }
}
