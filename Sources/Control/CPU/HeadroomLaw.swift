// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Our control law: the recent peak of the use plus a margin, as a pure function of reports.
///
/// Up by what the slope of the demand says, in one step; down in one step too, as soon as the peak
/// is forgotten, and never below what was used. docs/law-headroom.md has the reasons and the
/// sources of the constants.
package struct HeadroomLaw: Sendable {
  /// The constants of the law; a period is 100 ms unless ``scaled(toPeriod:)`` says otherwise.
  package struct Parameters: Equatable, Sendable {
    /// What is kept above the peak, as a part of it: 15 %, as the Kubernetes Vertical Pod
    /// Autoscaler keeps (its flag recommendation-margin-fraction).
    package var margin: Double
    /// What each CPU in use may strand: the kernel hands quota to CPUs in slices of 5 ms
    /// (sched_cfs_bandwidth_slice_us, Documentation/scheduler/sched-bwc.rst).
    package var slice: Nanoseconds
    /// What a CPU keeps of its slice when it has nothing to run (min_cfs_rq_runtime): 1 ms.
    ///
    /// A container that can be raised promptly strands no more than that beside the part of a slice
    /// that it uses.
    package var kept: Nanoseconds
    /// For how many periods a peak is remembered: 3.
    ///
    /// Chosen by simulation (LawComparisonTests):
    /// with 2 a load that comes every 300 ms is cut each time, with 5 slack exceeds `escra`'s.
    package var window: Int
    /// ``margin`` for a container that can be raised promptly: 5 %.
    ///
    /// What is missing then comes in time, so that less has to be there before (ServiceLoadTests).
    package var promptMargin = 0.05
    /// ``window`` for a container that can be raised promptly: 2.
    package var promptWindow = 2
    /// The factor by which a quota grows that was used up, when nothing better is known: 2, the
    /// least number of steps to an unknown demand that never overshoots by more than itself.
    package var growth: Double
    /// The part of the quota that must be saved for a write to be worth it: a tenth.
    ///
    /// A write costs a microsecond, but the periods' noise is of this size.
    package var worthwhile: Double
    /// One CPU for a period: the least that a task which runs uses, and what a container gets that
    /// wakes from rest (the "jump start" of Escra's controller, Manager.cpp).
    package var core: Nanoseconds
    /// Silence after which a container rests: as long as a peak is remembered.
    package var idleAfter: Nanoseconds
    /// For how long a container keeps what it starts with, because runtimes size themselves by the
    /// quota they find (kube-startup-cpu-boost's issue 142: a JVM never shrinks): 2 s.
    package var settling: Nanoseconds

    /// Our constants.
    package static let standard = Parameters(
      margin: 0.15, slice: 5_000_000, kept: 1_000_000, window: 3, growth: 2, worthwhile: 0.1,
      core: 100_000_000, idleAfter: 300_000_000, settling: 2_000_000_000)

    /// The same law for another period: what is counted in periods or CPU time a period follows.
    package func scaled(toPeriod period: Nanoseconds) -> Parameters {
      var scaled = self
      scaled.core = core * period / 100_000_000
      scaled.idleAfter = idleAfter * period / 100_000_000
      return scaled
    }
  }

  private let parameters: Parameters
  /// Whether a hook calls before the quota is used up, says when the period ends, and may be given
  /// more as often as it takes: then a raise need not last for longer than the period.
  package private(set) var isPrompt = false
  // The last periods, at most `window`, the oldest overwritten.
  private var uses: [Nanoseconds] = []
  private var paces: [Nanoseconds] = []
  private var next = 0
  /// The fastest pace before the last rest: a load that came with four threads comes back so.
  private var remembered: Nanoseconds = 0

  /// A law that has seen nothing yet.
  package init(_ parameters: Parameters = .standard) { self.parameters = parameters }

  /// What to give at once to a container that wakes: a core, or its pace before it rested; a fifth
  /// of that to a container that can be raised promptly, which is more than is gone before the next
  /// call.
  package var wake: Nanoseconds {
    need(max(parameters.core, remembered) / (isPrompt ? 5 : 1), remembered)
  }

  /// Use from which a quota is about to be used up: all of it but what CPUs may strand, and never
  /// less than half, since at a small quota the slices would be everything.
  package func threshold(of quota: Nanoseconds, pace: Nanoseconds) -> Nanoseconds {
    max(quota / 2, quota - stranded(pace))
  }

  /// Takes a report and says what the quota should be.
  ///
  /// - Parameters:
  ///   - report: The period that has ended, or how far it has come when the quota runs short.
  ///   - bounds: What the container may move between.
  /// - Returns: nil to leave the quota as it is.
  package mutating func decide(_ report: PeriodReport, bounds: QuotaBounds) -> QuotaDecision? {
    note(report)
    guard let wanted = wanted(report) else { return nil }
    // Never below what was used, also where the ceiling has fallen below it.
    let quota = bounds.clamp(
      wanted.quota < report.quota ? max(wanted.quota, min(report.use, report.quota)) : wanted.quota)
    guard quota != report.quota else { return nil }
    return QuotaDecision(quota: quota, rule: wanted.rule)
  }

  /// From now on a hook calls in time, and the quota may be raised as often as it takes.
  package mutating func becomePrompt() {
    forget()
    isPrompt = true
  }

  /// Forgets the peaks, but not the pace: the container rests, or its limit came from elsewhere.
  package mutating func forget() {
    remembered = max(paces.max() ?? 0, uses.isEmpty ? remembered : 0)
    uses.removeAll(keepingCapacity: true)
    paces.removeAll(keepingCapacity: true)
    next = 0
  }

  private mutating func note(_ report: PeriodReport) {
    // A period in which it could not run says nothing of what it wants, unless it ran all the same.
    let isHidden = report.contended && report.use < uses.max() ?? 0
    if report.isPartial || isHidden { return }
    let window = isPrompt ? parameters.promptWindow : parameters.window
    if uses.count < window {
      uses.append(report.use)
      paces.append(report.pace)
    } else {
      uses[next] = report.use
      paces[next] = report.pace
      next = (next + 1) % window
    }
  }

  private func wanted(_ report: PeriodReport) -> QuotaDecision? {
    let quota = report.quota
    if report.afterIdle && wake > quota {
      return QuotaDecision(quota: wake, rule: .jumpStart)
    }
    let pace = max(report.pace, paces.max() ?? 0)
    let peak = max(report.use, uses.max() ?? 0)
    if report.throttled, isPrompt, let rest = report.rest {
      // Until its end at the average of this period; should that not do, there is another call.
      let going = CFSBandwidth.scaled(max(report.pace, report.use), by: rest, over: parameters.core)
      let predicted = need(report.use + going, pace)
      let least =
        report.use >= quota
        ? Nanoseconds(parameters.growth * Double(quota)) : quota + max(parameters.kept, quota / 8)
      return QuotaDecision(
        quota: max(predicted, least), rule: predicted >= least ? .predicted : .exhausted)
    }
    if report.throttled {
      // The peak was cut by the quota, the pace was not: at that pace a whole period takes this. A
      // task that runs right now uses a CPU, whatever the slope shows of it by then.
      let slope = max(report.pace, report.isPartial ? parameters.core : 0)
      let predicted = need(max(peak, slope), pace)
      let doubled = Nanoseconds(parameters.growth * Double(quota))
      if report.use >= quota && predicted < doubled {
        return QuotaDecision(quota: doubled, rule: .exhausted)
      }
      return predicted > quota ? QuotaDecision(quota: predicted, rule: .predicted) : nil
    }
    if report.contended || report.isPartial { return nil }
    let kept = need(peak, pace)
    let saved = quota - kept
    guard Double(saved) >= parameters.worthwhile * Double(quota) else { return nil }
    return QuotaDecision(quota: kept, rule: .giveBack)
  }

  /// What it takes not to be throttled at a use of `use` a period.
  private func need(_ use: Nanoseconds, _ pace: Nanoseconds) -> Nanoseconds {
    let margin = isPrompt ? parameters.promptMargin : parameters.margin
    return use + Nanoseconds(margin * Double(use)) + stranded(pace)
  }

  /// What the CPUs in use may hold of the quota without using it.
  private func stranded(_ pace: Nanoseconds) -> Nanoseconds {
    if isPrompt {
      return parameters.kept
        + CFSBandwidth.scaled(parameters.slice, by: pace, over: parameters.core)
    }
    return parameters.slice * max(1, (pace + parameters.core / 2) / max(parameters.core, 1))
  }
}
