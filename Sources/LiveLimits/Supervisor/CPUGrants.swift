// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The CPU of a member: what the law wants is asked for, and what was granted is written.
extension CPUComponent {
  /// Opens the budget of a member.
  func openBudget(held: Nanoseconds) throws(SystemError) {
    limits.budget = MemberBooks(
      held: held, period: container.base.period, now: monotonicNow(),
      usage: try container.handles.meter.read())
  }

  /// Less is written at once, more when it was granted; until then what is in force stays.
  func ask(_ decision: QuotaDecision, use: Nanoseconds) -> [Effect] {
    hold(limits.quota)
    asked = (decision.rule, decision.quota, use, monotonicNow())
    return [.want(container.base.cores(of: decision.quota), of: .cpu), .judgeOverheard]
  }

  /// Makes what an application has granted the kernel's limit.
  ///
  /// - Returns: The most that the kernel's limit is from now on, in nanocores; what was used in the
  ///   current period, as a limit; and what follows.
  func keep(_ amount: Int64) -> (held: Int64, spent: Int64, effects: [Effect]) {
    let base = container.base
    let before = limits.quota
    let held = base.quota(of: base.limit(of: base.quota(ofCores: amount)))
    var spent: Int64 = 0
    // ENODEV: the group is gone, and has used nothing.
    if let usage = try? container.handles.meter.read() {
      limits.budget?.charge(usage: usage, at: monotonicNow())
      spent = base.cores(
        of: max(min(controller.spent(usage), before), limits.budget?.excess ?? 0))
    }
    limits.budget?.hold(held)
    limits.granted = amount
    let isAsked = base.cores(of: asked.quota) == amount
    // Part of what was asked for a moment ago is granted for the use that was seen then.
    let isPart = held > before && monotonicNow() - asked.time <= 3 * base.period
    do throws(SystemError) {
      let effects = try writeHeld(
        isAsked ? asked.rule : held > before ? .granted : .recalled,
        use: isAsked || isPart ? asked.use : 0)
      return (amount, spent, effects)
    } catch {
      if error.errno == EAGAIN {
        // It is the container's own, and is written when it can be.
        nextDue = monotonicNow() + ParentLimit.retryInterval
        return (amount, spent, [])
      }
      let (found, effects) = refuseHeld(held)
      limits.granted = found ?? amount
      return (found ?? amount, spent, effects)
    }
  }

  /// Makes what is held the kernel's quota, as far as what was used before leaves it.
  private func writeHeld(_ rule: Rule, use: Nanoseconds) throws(SystemError) -> [Effect] {
    guard let budget = limits.budget else { return [] }
    let (before, now) = (limits.quota, monotonicNow())
    let write = budget.write(over: before, at: now)
    nextDue = write.due
    // No limit is a limit that is not ours yet, however much it is.
    guard let quota = write.quota ?? (limits.ours.quota == nil ? before : nil) else { return [] }
    let limit = container.base.limit(of: quota)
    try limits.apply(limit)
    let after = container.base.quota(of: limit)
    hold(after)
    container.record(rule, before: before, after: after, use: use)
    // The container may have been asleep, and what it does not need it gives back.
    if after > before { lookWithinPeriod(of: now) }
    return [.wrote]
  }

  /// Makes what is held the kernel's quota: what was used too much before has drained, or another
  /// process has written what was in force a moment ago.
  func writeHeldAgain(_ rule: Rule) -> [Effect] {
    nextDue = nil
    // ENODEV: the group is gone.
    guard let usage = try? container.handles.meter.read() else { return [.checkMembers] }
    limits.budget?.charge(usage: usage, at: monotonicNow())
    do throws(SystemError) {
      return try writeHeld(rule, use: 0) + [.judgeOverheard]
    } catch {
      if error.errno == EAGAIN {
        nextDue = monotonicNow() + ParentLimit.retryInterval
        return []
      }
      guard let held = limits.budget?.held else { return [] }
      let (found, effects) = refuseHeld(held)
      guard let found else { return effects }
      limits.granted = found
      return effects + [.found(found, of: .cpu)]
    }
  }

  /// The kernel refuses what is held.
  ///
  /// - Returns: What there is, in nanocores; nil when the group is gone.
  private func refuseHeld(_ wanted: Nanoseconds) -> (found: Int64?, effects: [Effect]) {
    let (held, effects) = refuse(wanted, use: 0)
    guard let held else { return (nil, effects) }
    nextDue = nil
    limits.budget?.hold(held)
    return (container.base.cores(of: held), effects)
  }
}
