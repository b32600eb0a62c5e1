// SPDX-License-Identifier: Apache-2.0
internal import Quantities

extension MemoryController {
  /// Half of what was given back is wanted again, and soon: it was need.
  mutating func noteGrowth(to target: Int64, at now: Nanoseconds) {
    guard let shrink = lastShrink, target >= shrink.regretAt,
      now < shrink.until
    else { return }
    lastShrink = nil
    regret()
  }

  /// A shrink that is not regretted by now is none to be sorry for: the next one comes sooner.
  mutating func forgive(at now: Nanoseconds) {
    guard let shrink = lastShrink, now >= shrink.until else { return }
    lastShrink = nil
    wait = max(parameters.slackAfter, wait / 2)
  }

  mutating func regret() { wait = min(parameters.longestWait, 2 * wait) }

  mutating func takeSlack(_ need: Int64, _ now: Nanoseconds) {
    let need = bounds.clamp(need)
    guard var known = slack else {
      if law.isWorthwhile(limit - need, of: limit) { slack = (now, now, need) }
      return
    }
    if need > known.need {
      known.need = need
    } else if law.isWorthwhile(known.need - need, of: known.need) {
      // It is still falling: what was needed then is needed no more.
      known.need = need
      known.steadySince = now
    }
    slack = law.isWorthwhile(limit - known.need, of: limit) ? known : nil
  }

  /// When slack is released: when it has been as large for a while, and for a container that still
  /// grows after twice that.
  func due(
    _ slack: (since: Nanoseconds, steadySince: Nanoseconds, need: Int64)
  ) -> Nanoseconds {
    max(keptUntil, min(slack.steadySince + wait, slack.since + 2 * wait))
  }

  mutating func lower(
    to target: Int64, _ rule: Rule, _ reading: MemoryReading, _ now: Nanoseconds
  ) -> Step {
    slack = nil
    if target < reading.usage { (paceFrom, grown) = (now + parameters.reaction, nil) }
    lastShrink = (
      now + law.regretWithin(limit - target), target + (limit - target) / parameters.regretPart
    )
    limit = target
    // A container that began to grow in this moment is seen at once.
    return Step(
      decision: Decision(limit: target, rule: rule, use: reading.workingSet),
      deadline: now + parameters.shortestSample)
  }
}
