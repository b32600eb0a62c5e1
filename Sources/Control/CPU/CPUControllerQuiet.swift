// SPDX-License-Identifier: Apache-2.0
internal import Quantities

extension CPUController {
  mutating func fallQuiet(
    since: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> Step {
    mode = .quiet(since: since, usage: usage)
    pending = nil
    return Step(deadline: quietDeadline(since: since, now), armsAlarm: parameters.hasAlarm)
  }

  private func quietDeadline(since: Nanoseconds, _ now: Nanoseconds) -> Nanoseconds? {
    if !parameters.hasAlarm { return now + parameters.poll }
    return quota > bounds.floor
      ? max(since + parameters.law.idleAfter, settling.until, now) : nil
  }

  mutating func quiet(
    since: Nanoseconds, used: Nanoseconds, _ usage: Nanoseconds, _ now: Nanoseconds,
    called: Bool, _ surroundings: some Environment
  ) -> Step {
    let silentEnough = now - since >= parameters.law.idleAfter
    // A millisecond now and then is no work: what counts is the rate since the last look.
    let isBusy = used * parameters.period > parameters.quietUse * (now - lastReading.time)
    if called || isBusy {
      // What woke us belongs to the window that opens: all since the last poll, or what the
      // alarm lets pass. Before that, the use was spread over who knows how long.
      let counted = parameters.hasAlarm ? min(used, parameters.quietUse) : used
      let start = parameters.hasAlarm ? now : lastReading.time
      mode = .busy(start: start, usage: usage - counted, silentSince: since)
      pace = Pace(at: now, usage)
      // What wakes from idle is reported at once. Its quota is small, and split among CPUs in
      // slices it can be stranded on the wrong one: then use stands still, and shows nothing.
      if silentEnough && quota < min(law.wake(parameters.law), bounds.ceiling) {
        return report(
          PeriodReport(
            use: counted, quota: quota, throttled: counted >= threshold(0), afterIdle: true,
            isPartial: law.keepsPeriods),
          (start, counted, since), usage, now, periodEnd: nil, surroundings)
      }
      return next(start, counted, usage, now)
    }
    mode = .quiet(since: since, usage: usage)
    guard silentEnough, quota > bounds.floor, now >= settling.until else {
      return Step(
        deadline: quietDeadline(since: since, now), armsAlarm: parameters.hasAlarm)
    }
    // Paused is not idle, and who could not run has not been silent. Neither end announces itself:
    // a container that stays idle after it was resumed calls no alarm.
    if surroundings.isFrozen() || surroundings.wasContended() {
      return Step(deadline: now + (parameters.hasAlarm ? 1_000_000_000 : parameters.poll))
    }
    guard
      let decision = permit(QuotaDecision(quota: bounds.floor, rule: law.idleRule), at: now)
    else {
      return Step(deadline: now + parameters.period, armsAlarm: parameters.hasAlarm)
    }
    set(decision, at: now)
    law.forget()
    return Step(
      decision: decision, use: 0, deadline: parameters.hasAlarm ? nil : now + parameters.poll,
      armsAlarm: parameters.hasAlarm)
  }
}
