// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Turns readings of one container's CPU usage into quotas, and says when to read again.
///
/// A pure state machine: time and usage come in, what to do comes out. While the container is
/// busy its use is read every few milliseconds, sooner the nearer the quota is, or once a period
/// where a hook in the scheduler speaks up; a report goes to the law when a period is over, or at
/// once when the quota is about to be used up. While it is quiet there is one deadline, at which the quota goes to the floor, and then none.
///
/// What the law wants is written when the ``UsageBooks`` allow it: at most one raise and one return
/// a period, and never so much that the container could use more than its limit and one period's
/// worth, in whatever window.
package struct CPUController: Sendable {
  enum Mode: Sendable {
    /// A window is open since `start`. `silentSince` is when it was last seen to work, if it was
    /// quiet before and has not proved busy yet.
    case busy(start: Nanoseconds, usage: Nanoseconds, silentSince: Nanoseconds?)
    case quiet(since: Nanoseconds, usage: Nanoseconds)
  }

  /// The quota in force, in nanoseconds of CPU time a period.
  package var quota: Nanoseconds
  /// What it moves between.
  package var bounds: QuotaBounds
  /// What was used above the limit.
  package var books: UsageBooks
  /// What happened so far.
  package var counters = Counters()

  var parameters: Parameters
  var law: ControlLaw
  var mode: Mode
  var lastRaise: Nanoseconds = .min / 2
  var lastReturn: Nanoseconds = .min / 2
  /// When the books may allow what they have just refused.
  var allowedFrom: Nanoseconds = .min
  var lastReading: (time: Nanoseconds, usage: Nanoseconds)
  var pace: Pace
  /// What the container started with is kept until then.
  var settling: (quota: Nanoseconds, until: Nanoseconds)
  /// A raise that the books refused, and when to try it again: when the period that a hook spoke
  /// of has ended, or when the limit has drained enough.
  var pending: (decision: QuotaDecision, from: Nanoseconds, periodEnd: Nanoseconds?)?

  /// Starts with a container that counts as busy.
  ///
  /// - Parameters:
  ///   - parameters: The container's constants.
  ///   - quota: What is in force.
  ///   - bounds: What it may move between.
  ///   - now: The time of the first reading.
  ///   - usage: CPU time used until then, in nanoseconds.
  package init(
    _ parameters: Parameters, quota: Nanoseconds, bounds: QuotaBounds, now: Nanoseconds,
    usage: Nanoseconds
  ) {
    self.parameters = parameters
    self.quota = quota
    self.bounds = bounds
    law = ControlLaw(parameters.law)
    if parameters.isPrompt { law.becomePrompt() }
    books = UsageBooks(
      limit: bounds.ceiling, period: parameters.period, cpus: parameters.cpus, now: now,
      usage: usage)
    mode = .busy(start: now, usage: usage, silentSince: nil)
    lastReading = (now, usage)
    pace = Pace(at: now, usage)
    settling = (quota, now + parameters.law.settling)
  }

  /// Takes a reading: the deadline has come, or the alarm has called.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far, in nanoseconds.
  ///   - now: When it was read.
  ///   - called: Whether the alarm called. The kernel brings a running task's usage up to date at
  ///     its tick only, so what is read right then may not show yet what the alarm has seen.
  ///   - surroundings: What else to ask.
  /// - Returns: What to do.
  package mutating func observe(
    usage: Nanoseconds, at now: Nanoseconds, called: Bool = false,
    surroundings: some Environment
  ) -> Step {
    take(usage, now)
    defer { lastReading = (now, usage) }
    if let due = pending, now >= due.from, case .busy(let start, let before, _) = mode {
      return settle(due.decision, periodEnd: due.periodEnd, start, usage - before, usage, now)
    }
    switch mode {
    case .quiet(let since, let before):
      return quiet(
        since: since, used: usage - before, usage, now, called: called, surroundings)
    case .busy(let start, let before, let silentSince):
      return busy(start, used: usage - before, silentSince, usage, now, surroundings)
    }
  }

  /// Takes what a hook in the scheduler has seen.
  ///
  /// - Parameters:
  ///   - event: What it was.
  ///   - usage: CPU time used so far, in nanoseconds.
  ///   - now: The time.
  ///   - surroundings: What else to ask.
  /// - Returns: What to do.
  package mutating func hear(
    _ event: KernelEvent, usage: Nanoseconds, at now: Nanoseconds,
    surroundings: some Environment
  ) -> Step {
    take(usage, now)
    defer { lastReading = (now, usage) }
    // N threads make up to N events, and one raise a period is all there is.
    let mayRaise = quota < bounds.ceiling && now >= mayRaiseFrom
    if case .quiet(let since, let before) = mode {
      mode = .busy(
        start: now, usage: max(before, usage - parameters.quietUse), silentSince: since)
      pace = Pace(at: now, usage)
    }
    guard case .busy(let start, let before, let silentSince) = mode else { return Step() }
    let used = usage - before
    let afterIdle = silentSince.map { start - $0 >= parameters.law.idleAfter } ?? false
    let estimate = pace.estimate(usage, now, parameters)
    switch event.kind {
    case .throttled:
      counters.throttles += 1
      if !mayRaise, let end = event.periodEnd { counters.stalled += max(0, end - now) }
    case .runningOut(let left):
      // The hook's margin is the widest there is; and what is left may last until the refill.
      let isShort = afterIdle || left <= quota - threshold(estimate)
      let time = max(0, (event.periodEnd ?? .max / 2) - now)
      let fastest = parameters.isPrompt ? max(used, estimate) : max(parameters.period, estimate)
      if !isShort || CFSBandwidth.scaled(time, by: fastest, over: parameters.period) <= left {
        return next(start, used, usage, now)
      }
    }
    guard mayRaise else {
      var step = next(start, used, usage, now)
      // No hook calls again in this period.
      if quota < bounds.ceiling { step.deadline = min(step.deadline ?? .max, mayRaiseFrom) }
      return step
    }
    let isOut = event.kind == .throttled
    let left: Nanoseconds = if case .runningOut(let left) = event.kind { left } else { 0 }
    // Of this quota; a window of ours may hold some of the period before.
    let usedOfQuota = parameters.isPrompt ? min(used, quota - left) : used
    return report(
      PeriodReport(
        use: isOut ? max(used, quota) : usedOfQuota, quota: quota, throttled: true,
        afterIdle: afterIdle,
        pace: estimate, isPartial: true,
        rest: event.periodEnd.map { max(0, $0 - now) }),
      (start, used, silentSince), usage, now, left: left, periodEnd: event.periodEnd,
      surroundings)
  }

  /// Takes note of a quota that came from elsewhere: an update, a foreign write, a refusal.
  ///
  /// - Parameters:
  ///   - quota: What is in force now.
  ///   - bounds: What it may move between from now on.
  ///   - now: The time.
  ///   - usage: CPU time used so far, in nanoseconds.
  /// - Returns: When to read next.
  package mutating func adopt(
    quota: Nanoseconds, bounds: QuotaBounds, now: Nanoseconds, usage: Nanoseconds
  ) -> Step {
    self.quota = quota
    self.bounds = bounds
    take(usage, now)
    books.set(limit: bounds.ceiling)
    law.forget()
    pending = nil
    allowedFrom = .min
    // The first seconds are the container's, whatever it declares by then.
    settling.quota = quota
    lastReading = (now, usage)
    return open(at: now, usage)
  }

  /// Takes note of what is in force, where the application grants what was decided: the law
  /// goes on with what it has seen.
  package mutating func hold(_ quota: Nanoseconds) { self.quota = quota }

  /// Takes over what another controller of the same container has counted, and how long what the
  /// container starts with is kept.
  package mutating func continues(_ other: CPUController) {
    counters = other.counters
    settling.until = other.settling.until
  }

  /// What was used in the window that is open.
  ///
  /// - Parameter usage: CPU time used so far, in nanoseconds.
  /// - Returns: Nanoseconds of CPU time.
  package func spent(_ usage: Nanoseconds) -> Nanoseconds {
    switch mode {
    case .busy(_, let before, _), .quiet(_, let before): max(0, usage - before)
    }
  }

  /// From now on a hook in the scheduler speaks up; until then there was none.
  ///
  /// - Parameter bounds: What the quota moves between where a hook does.
  package mutating func gainHooks(bounds: QuotaBounds) {
    self.bounds = bounds
    parameters.hasHooks = true
    parameters.hasAlarm = true
    if parameters.isPrompt { law.becomePrompt() }
  }

  /// Takes note that a group above the container's was throttled, and it with that one.
  package mutating func countAncestorThrottle() { counters.ancestorThrottles += 1 }

  private mutating func take(_ usage: Nanoseconds, _ now: Nanoseconds) {
    books.charge(usage: usage, at: now)
    pace.take(usage, now, parameters)
  }

  // MARK: busy

  func threshold(_ pace: Nanoseconds) -> Nanoseconds {
    law.threshold(of: quota, pace: pace, slice: parameters.slice)
  }

  mutating func busy(
    _ start: Nanoseconds, used: Nanoseconds, _ silentSince: Nanoseconds?, _ usage: Nanoseconds,
    _ now: Nanoseconds, _ surroundings: some Environment
  ) -> Step {
    let elapsed = now - start
    let isOver = elapsed >= parameters.period
    let estimate = pace.estimate(usage, now, parameters)
    let isUsedUp = used >= threshold(estimate)
    // One raise a period: each is a refill, and what was given has to be seen first.
    let isShort = isUsedUp && quota < bounds.ceiling && now >= mayRaiseFrom
    guard isOver || isShort else { return next(start, used, usage, now) }

    // A late reading covers more than a period: what it says is a rate.
    let use = isOver ? used * parameters.period / max(elapsed, 1) : used
    if isOver && use < parameters.quietUse {
      return fallQuiet(since: silentSince ?? start, usage, now)
    }
    let isThrottled = use >= threshold(estimate)
    if use >= quota { counters.throttles += 1 }
    return report(
      PeriodReport(
        use: use, quota: quota, throttled: isThrottled,
        afterIdle: silentSince.map { start - $0 >= parameters.law.idleAfter } ?? false,
        contended: isThrottled ? false : surroundings.wasContended(), pace: estimate,
        isPartial: !isOver && law.keepsPeriods),
      (start, used, silentSince), usage, now, periodEnd: nil, surroundings)
  }

  /// Asks the law, and goes on with the window or opens the next one.
  mutating func report(
    _ report: PeriodReport,
    _ window: (start: Nanoseconds, used: Nanoseconds, silentSince: Nanoseconds?),
    _ usage: Nanoseconds, _ now: Nanoseconds, left: Nanoseconds = .max / 2,
    periodEnd: Nanoseconds?, _ surroundings: some Environment
  ) -> Step {
    // A jump start is for what has just woken; later in the same window its use is known.
    var decision = law.decide(report, bounds: heldBounds(now))
    if let wanted = decision, wanted.quota < quota, surroundings.isFrozen() { decision = nil }
    if let wanted = decision {
      decision = permit(wanted, at: now, left: left, periodEnd: periodEnd)
    } else if !report.isPartial {
      pending = nil  // It does not want it any more.
    }
    if let decision { set(decision, at: now) }
    var step: Step
    if report.isPartial && law.keepsPeriods {
      mode = .busy(
        start: window.start, usage: usage - window.used,
        silentSince: decision == nil ? window.silentSince : nil)
      step = next(window.start, window.used, usage, now)
    } else {
      step = open(at: now, usage)
    }
    step.decision = decision
    step.use = report.use
    return step
  }

  var mayRaiseFrom: Nanoseconds {
    max(lastRaise + parameters.period / (parameters.isPrompt ? 16 : 1), allowedFrom)
  }

  func next(
    _ start: Nanoseconds, _ used: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Step {
    let end = min(start + parameters.period, pending?.from ?? .max)
    return Step(deadline: min(max(end, now), nextLook(used, usage, now)))
  }

  /// When the quota could be nearly used up at the fastest pace that is to be expected.
  private func nextLook(
    _ used: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Nanoseconds {
    guard quota < bounds.ceiling, !parameters.isTold else { return .max }
    // Twice the pace of the last reading, at least one CPU, at most all of them.
    let time = max(now - lastReading.time, 1)
    let fastest = min(parameters.cpus, max(1, 2 * (usage - lastReading.usage) / time))
    let left = threshold(pace.estimate(usage, now, parameters)) - used
    return max(now + max(parameters.shortestSample, left / fastest), mayRaiseFrom)
  }

  private mutating func open(at now: Nanoseconds, _ usage: Nanoseconds) -> Step {
    mode = .busy(start: now, usage: usage, silentSince: nil)
    pace.openWindow()
    return next(now, 0, usage, now)
  }
}
