// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What one CFS period of a container looked like, in nanoseconds of CPU time a period.
package struct PeriodReport: Equatable, Sendable {
  /// CPU time used.
  package var use: Nanoseconds
  /// The quota that was in force.
  package var quota: Nanoseconds
  /// Whether the container ran out of quota, or was about to.
  package var throttled: Bool
  /// Whether it had been silent for longer than the law's idle time before.
  package var afterIdle: Bool
  /// Whether it waited for a CPU that others had: it used little because it could not run.
  package var contended: Bool
  /// What a whole period at its fastest pace of late would take: the slope of its demand.
  package var pace: Nanoseconds
  /// Whether the period is still going on: the report was made because the quota runs short.
  package var isPartial: Bool
  /// How long the kernel's period still lasts, where that is known.
  package var rest: Nanoseconds?

  /// Makes a report.
  package init(
    use: Nanoseconds, quota: Nanoseconds, throttled: Bool = false, afterIdle: Bool = false,
    contended: Bool = false, pace: Nanoseconds = 0, isPartial: Bool = false,
    rest: Nanoseconds? = nil
  ) {
    self.use = use
    self.quota = quota
    self.throttled = throttled
    self.afterIdle = afterIdle
    self.contended = contended
    self.pace = pace
    self.isPartial = isPartial
    self.rest = rest
  }

  /// Quota that was left over.
  package var remaining: Nanoseconds { max(0, quota - use) }
}

/// What a container may move between, in nanoseconds of CPU time a period.
package struct QuotaBounds: Equatable, Sendable {
  /// Never less than this.
  package var floor: Nanoseconds
  /// Never more than this.
  package var ceiling: Nanoseconds

  /// Makes bounds; a floor above the ceiling is the ceiling.
  package init(floor: Nanoseconds, ceiling: Nanoseconds) {
    self.floor = min(floor, ceiling)
    self.ceiling = ceiling
  }

  /// The nearest value within the bounds.
  package func clamp(_ quota: Nanoseconds) -> Nanoseconds { min(max(quota, floor), ceiling) }
}

/// Why a quota is what it is: the rule that decided, for the record and for `escra explain`.
package enum Rule: UInt8, Sendable, CaseIterable {
  /// What the container started with, or what was found when the supervisor took over.
  case start = 0
  /// It had been idle and runs again: a core at once, if the application has it.
  case jumpStart = 1
  /// `escra`: it is throttled and has less than its fair share: a part of what it lacks.
  case fairShare = 2
  /// `escra`: it is throttled: a step up.
  case scaleUp = 3
  /// `escra`: more than a fifth of the quota was left over: four fifths of it.
  case scaleDown = 4
  /// `escra`: a little is left over on average: a little less.
  case trim = 5
  /// `escra`: it has been silent for two seconds: the floor.
  case idle = 6
  /// The declared limit was changed (`docker update`).
  case update = 7
  /// Another process wrote an old value over ours: ours again.
  case drift = 8
  /// Another process wrote a new value: the new base.
  case news = 9
  /// The container has ended.
  case end = 10
  /// The kernel refused a value: an ancestor's limit is in the way.
  case refused = 11
  /// Back to the declared limit: supervision ended before the container did.
  case declared = 12
  /// `headroom`: at its pace it would run out: what a period at that pace takes, and the margin.
  case predicted = 13
  /// `headroom`: it did run out, so what it wants is not known: at least twice as much.
  case exhausted = 14
  /// `headroom`: its recent peak and the margin are less than the quota: that much.
  case giveBack = 15
  /// `headroom`: it has used next to nothing for as long as peaks are remembered: the floor.
  case rest = 16
  /// A new period has begun, and what its books refused in the last one is due.
  case due = 17
  /// Its application had less, or no more, than it wanted.
  case granted = 19
  /// Its application wanted some of it back, for another member.
  case recalled = 20
  /// What the books allow until the period ends, less than the quota that is used up; the rest of
  /// what it wants is due then.
  case advance = 18
  /// Memory: what the container had when a supervisor took it over.
  case memoryFound = 32
  /// Memory: it was about to use all of its limit.
  case memoryGrown = 33
  /// Memory: the same, with less than a quarter of the head left.
  case memoryNearMiss = 34
  /// Memory: slack has lasted.
  case memoryGivenBack = 35
  /// Memory: it wants more than it may have.
  case memoryRefused = 36
  /// Memory: it wants more than the machine can spare.
  case memoryHostFull = 37
  /// Memory: the kernel would not take a limit.
  case memoryNotTaken = 38
  /// Memory: another process wrote another limit, which is the new base.
  case memoryNews = 39
  /// Memory: the kernel has killed a process of the container for want of memory.
  case memoryKill = 40
  /// Memory: it had more than it may have.
  case memoryBounded = 41
  /// Memory: the declared limit was changed (`docker update`).
  case memoryUpdate = 42
  /// Memory: another process, such as a service manager, had written an old limit or another line
  /// over ours.
  case memoryDrift = 43
  /// Memory: it wants more, and that is what its application had.
  case memoryGranted = 44
  /// Memory: its application wanted some of it back, for another member.
  case memoryRecalled = 45
  /// Memory: page cache that was dropped was read again.
  case memoryRefaults = 46
  /// Memory: earlier runs needed less at first.
  case memoryPredicted = 47
}

extension Rule {
  /// Whether both are the same rule.
  ///
  /// Written out: other targets look up the compiler's own at run time, and that stays in the memory of
  /// every supervisor.
  package static func == (a: Rule, b: Rule) -> Bool { a.rawValue == b.rawValue }

  /// Whether it is about memory, and its entry's numbers are bytes.
  package var isMemory: Bool { rawValue >= Rule.memoryFound.rawValue }
}

/// What a law wants.
package struct QuotaDecision: Equatable, Sendable {
  /// The new quota, in nanoseconds of CPU time a period.
  package let quota: Nanoseconds
  /// The rule that wanted it.
  package let rule: Rule

  /// Makes a decision.
  package init(quota: Nanoseconds, rule: Rule) {
    self.quota = quota
    self.rule = rule
  }
}
