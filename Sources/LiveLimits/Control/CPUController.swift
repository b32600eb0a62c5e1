// SPDX-License-Identifier: Apache-2.0
public import Syscalls

/// Turns readings of one container's CPU usage into quotas, and says when to read again.
///
/// A pure state machine: time and usage come in, what to do comes out. While the container is
/// busy its use is read every few milliseconds, sooner the nearer the quota is; a report goes to
/// the law when a period is over, or at once when the quota is about to be used up. While it is
/// quiet there is one deadline, at which the quota goes to the floor, and then none.
public struct CPUController: Sendable {
  /// What does not change while a container lives.
  public struct Parameters: Equatable, Sendable {
    /// The CFS period in nanoseconds.
    public var period: Nanoseconds
    /// CPUs the container can run on at once.
    public var cpus: Int64
    /// CPU time a period below which a container counts as quiet: a fifth of the floor.
    public var quietUse: Nanoseconds
    /// Whether a ``Hooks/BusyAlarm`` calls when a quiet container starts to use CPU.
    public var hasAlarm: Bool
    /// The kernel hands quota to CPUs in slices of this size (sched_cfs_bandwidth_slice_us), so a
    /// group is throttled with up to one of them unused.
    public var slice: Nanoseconds = 5_000_000
    /// The shortest time between two readings.
    public var shortestSample: Nanoseconds = 1_000_000
    /// The time between two readings of a quiet container where there is no alarm: 20 a second.
    public var poll: Nanoseconds = 50_000_000
    /// The law's constants.
    public var law: EscraLaw.Parameters

    /// Makes the parameters of one container.
    public init(
      period: Nanoseconds, cpus: Int64, quietUse: Nanoseconds, hasAlarm: Bool,
      law: EscraLaw.Parameters = .published
    ) {
      self.period = period
      self.cpus = cpus
      self.quietUse = quietUse
      self.hasAlarm = hasAlarm
      self.law = law.scaled(toPeriod: period)
    }
  }

  /// What the world outside knows at the moment of a reading; asked only when it matters.
  public protocol Surroundings {
    /// Whether the container waited for CPUs that others had, since the last time it was asked.
    func wasContended() -> Bool
    /// Whether the container is frozen (paused).
    func isFrozen() -> Bool
  }

  /// What to do now.
  public struct Step: Equatable, Sendable {
    /// The quota to set, and why; nil to leave it.
    public var decision: EscraLaw.Decision?
    /// The use that the decision was made from, in nanoseconds of CPU time a period.
    public var use: Nanoseconds = 0
    /// When to read again; nil: when the alarm calls.
    public var deadline: Nanoseconds?
    /// Whether to arm the alarm.
    public var armsAlarm = false
  }

  private enum Mode: Sendable {
    /// A window is open since `start`. `silentSince` is when it was last seen to work, if it was
    /// quiet before and has not proved busy yet.
    case busy(start: Nanoseconds, usage: Nanoseconds, silentSince: Nanoseconds?)
    case quiet(since: Nanoseconds, usage: Nanoseconds)
  }

  /// The quota in force, in nanoseconds of CPU time a period.
  public private(set) var quota: Nanoseconds
  /// What it moves between.
  public private(set) var bounds: QuotaBounds
  private let parameters: Parameters
  private var law: EscraLaw
  private var mode: Mode
  private var lastRaise: Nanoseconds = .min / 2
  private var lastReading: (time: Nanoseconds, usage: Nanoseconds)

  /// Starts with a container that counts as busy.
  ///
  /// - Parameters:
  ///   - parameters: The container's constants.
  ///   - quota: What is in force.
  ///   - bounds: What it may move between.
  ///   - now: The time of the first reading.
  ///   - usage: CPU time used until then, in nanoseconds.
  public init(
    _ parameters: Parameters, quota: Nanoseconds, bounds: QuotaBounds, now: Nanoseconds,
    usage: Nanoseconds
  ) {
    self.parameters = parameters
    self.quota = quota
    self.bounds = bounds
    law = EscraLaw(parameters.law)
    mode = .busy(start: now, usage: usage, silentSince: nil)
    lastReading = (now, usage)
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
  public mutating func observe(
    usage: Nanoseconds, at now: Nanoseconds, called: Bool = false,
    surroundings: some Surroundings
  ) -> Step {
    defer { lastReading = (now, usage) }
    switch mode {
    case .quiet(let since, let before):
      return quiet(
        since: since, used: usage - before, usage, now, called: called, surroundings)
    case .busy(let start, let before, let silentSince):
      return busy(start, used: usage - before, silentSince, usage, now, surroundings)
    }
  }

  /// Takes note of a quota that came from elsewhere: an update, a foreign write, a refusal.
  ///
  /// - Parameters:
  ///   - quota: What is in force now.
  ///   - bounds: What it may move between from now on.
  ///   - now: The time.
  ///   - usage: CPU time used so far, in nanoseconds.
  /// - Returns: When to read next.
  public mutating func adopt(
    quota: Nanoseconds, bounds: QuotaBounds, now: Nanoseconds, usage: Nanoseconds
  ) -> Step {
    self.quota = quota
    self.bounds = bounds
    law.forget()
    lastReading = (now, usage)
    return open(at: now, usage)
  }

  // MARK: busy

  /// Use from which the container is about to be throttled: all but what the CPUs' slices strand.
  private var threshold: Nanoseconds { max(quota / 2, quota - parameters.slice) }

  private mutating func busy(
    _ start: Nanoseconds, used: Nanoseconds, _ silentSince: Nanoseconds?, _ usage: Nanoseconds,
    _ now: Nanoseconds, _ surroundings: some Surroundings
  ) -> Step {
    let elapsed = now - start
    let isOver = elapsed >= parameters.period
    // One raise a period: each is a refill, and what was given has to be seen first.
    let isShort = used >= threshold && quota < bounds.ceiling && now >= mayRaiseFrom
    guard isOver || isShort else {
      return Step(deadline: min(start + parameters.period, nextLook(used, usage, now)))
    }

    // A late reading covers more than a period: what it says is a rate.
    let use = isOver ? used * parameters.period / max(elapsed, 1) : used
    if isOver && use < parameters.quietUse {
      return fallQuiet(since: silentSince ?? start, usage, now)
    }

    return report(
      use: use, afterIdle: silentSince.map { start - $0 >= parameters.law.idleAfter } ?? false,
      usage, now, surroundings)
  }

  /// Asks the law, and opens the next window.
  private mutating func report(
    use: Nanoseconds, afterIdle: Bool, _ usage: Nanoseconds, _ now: Nanoseconds,
    _ surroundings: some Surroundings
  ) -> Step {
    let report = PeriodReport(
      use: use, quota: quota, throttled: use >= threshold, afterIdle: afterIdle,
      contended: use < threshold ? surroundings.wasContended() : false)
    let decision = law.decide(
      report,
      pool: EscraLaw.Pool(
        unallocated: max(0, bounds.ceiling - quota), fairShare: bounds.ceiling),
      bounds: bounds)
    if let decision, decision.quota < quota, surroundings.isFrozen() {
      return open(at: now, usage)
    }
    if let decision { set(decision, at: now) }
    var step = open(at: now, usage)
    step.decision = decision
    step.use = use
    return step
  }

  private var mayRaiseFrom: Nanoseconds { lastRaise + parameters.period }

  /// When the quota could be nearly used up at the fastest pace that is to be expected.
  private func nextLook(
    _ used: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Nanoseconds {
    guard quota < bounds.ceiling else { return .max }
    // Twice the pace of the last reading, at least one CPU, at most all of them.
    let time = max(now - lastReading.time, 1)
    let pace = min(parameters.cpus, max(1, 2 * (usage - lastReading.usage) / time))
    let wait = max(parameters.shortestSample, (threshold - used) / pace)
    return max(now + wait, mayRaiseFrom)
  }

  private mutating func open(at now: Nanoseconds, _ usage: Nanoseconds) -> Step {
    mode = .busy(start: now, usage: usage, silentSince: nil)
    return Step(deadline: min(now + parameters.period, nextLook(0, usage, now)))
  }

  private mutating func set(_ decision: EscraLaw.Decision, at now: Nanoseconds) {
    if decision.quota > quota { lastRaise = now }
    quota = decision.quota
  }

  // MARK: quiet

  private mutating func fallQuiet(
    since: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Step {
    mode = .quiet(since: since, usage: usage)
    return Step(deadline: quietDeadline(since: since, now), armsAlarm: parameters.hasAlarm)
  }

  private func quietDeadline(since: Nanoseconds, _ now: Nanoseconds) -> Nanoseconds? {
    if !parameters.hasAlarm { return now + parameters.poll }
    return quota > bounds.floor ? max(since + parameters.law.idleAfter, now) : nil
  }

  private mutating func quiet(
    since: Nanoseconds, used: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds,
    called: Bool, _ surroundings: some Surroundings
  ) -> Step {
    let silentEnough = now - since >= parameters.law.idleAfter
    // Without an alarm the use since the last poll tells.
    let isBusy =
      parameters.hasAlarm
      ? used >= parameters.quietUse
      : used * parameters.period > parameters.quietUse * (now - lastReading.time)
    if called || isBusy {
      // What woke us belongs to the window that opens: all since the last poll, or what the
      // alarm lets pass. Before that, the use was spread over who knows how long.
      let counted = parameters.hasAlarm ? min(used, parameters.quietUse) : used
      let start = parameters.hasAlarm ? now : lastReading.time
      mode = .busy(start: start, usage: usage - counted, silentSince: since)
      // What wakes from idle is reported at once. Its quota is small, and split among CPUs in
      // slices it can be stranded on the wrong one: then use stands still, and shows nothing.
      if silentEnough && quota < min(parameters.law.jumpStart, bounds.ceiling) {
        return report(use: counted, afterIdle: true, usage, now, surroundings)
      }
      return Step(deadline: min(start + parameters.period, nextLook(counted, usage, now)))
    }
    if !parameters.hasAlarm { mode = .quiet(since: since, usage: usage) }
    guard silentEnough, quota > bounds.floor else {
      return Step(
        deadline: quietDeadline(since: since, now), armsAlarm: parameters.hasAlarm)
    }
    // Paused is not idle, and who could not run has not been silent. Neither end announces itself:
    // a container that stays idle after it was resumed calls no alarm.
    if surroundings.isFrozen() || surroundings.wasContended() {
      return Step(deadline: now + (parameters.hasAlarm ? 1_000_000_000 : parameters.poll))
    }
    let decision = EscraLaw.Decision(quota: bounds.floor, rule: .idle)
    set(decision, at: now)
    law.forget()
    return Step(
      decision: decision, use: 0, deadline: parameters.hasAlarm ? nil : now + parameters.poll,
      armsAlarm: parameters.hasAlarm)
  }
}
