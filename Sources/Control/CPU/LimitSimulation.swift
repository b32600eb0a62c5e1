// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// One container under a modelled kernel, with a controller or under a static limit.
package struct LimitSimulation {
  private struct Quiet: CPUController.Environment {
    func wasContended() -> Bool { false }
    func isFrozen() -> Bool { false }
  }

  /// A write of a limit.
  package struct Write {
    /// When it was written.
    package let time: Nanoseconds
    /// The limit before, in nanoseconds of CPU time a period.
    package let before: Nanoseconds
    /// The limit after, in nanoseconds of CPU time a period.
    package let quota: Nanoseconds
    /// The rule that wrote it.
    package let rule: Rule
  }

  /// The model of the kernel's bandwidth control.
  package var kernel: BandwidthModel
  /// The controller under test.
  package var controller: CPUController?
  /// What the controller wrote.
  package private(set) var writes: [Write] = []
  /// How often the controller read the usage.
  package private(set) var readings = 0
  /// The most that use was above the limit: over all windows of any length.
  package private(set) var excess: Nanoseconds = 0
  /// Quota that was there and not used, as CPU time.
  package var slack: Nanoseconds {
    let since = kernel.time - lastWrite
    // What a limit of 64 CPUs is in a year has no place in an integer.
    let whole = since / period * kernel.quota
    return heldBefore + whole + kernel.quota * (since % period) / period - kernel.used
  }
  private var heldBefore: Nanoseconds = 0
  private var lastWrite: Nanoseconds = 0
  private let isSupervised: Bool
  /// What is left to do for each thread; thread i runs on CPU i.
  package var backlog: [Nanoseconds]
  /// How late the supervisor is: it has to get a CPU first.
  package var lateness: () -> Nanoseconds = { 0 }
  /// Whether a hook tells of a running period, and whether it knows when that ends.
  private let hook: Hook

  /// None, as where there is no BPF; else the hooks, and whether they know when a period ends.
  package enum Hook: CaseIterable {
    /// No hooks.
    case none
    /// Hooks that report nothing: sampling has to notice.
    case blind
    /// Hooks that report as the BPF programs do.
    case seeing
  }

  private let limit: Nanoseconds
  /// The CFS period.
  package let period: Nanoseconds
  private let alarmAt: Nanoseconds
  private var level: Nanoseconds = 0
  private var deadline: Nanoseconds?
  private var isArmed = false

  /// Starts it; no law is a static limit at `quota`.
  package init(
    _ law: ControlLaw.Parameters?, quota: Nanoseconds, floor: Nanoseconds, ceiling: Nanoseconds,
    cpus: Int = 2, period: Nanoseconds = 100_000_000, phase: Nanoseconds = 0,
    hasAlarm: Bool = true, keepsBooks: Bool = true, hook: Hook = .none, isShared: Bool = false
  ) {
    self.hook = hook
    kernel = BandwidthModel(quota: quota, period: period, phase: phase, cpus: cpus)
    backlog = Array(repeating: 0, count: kernel.cpus.count)
    limit = ceiling
    self.period = period
    alarmAt = floor / 5
    isSupervised = law != nil
    guard let law else { return }
    var parameters = CPUController.Parameters(
      period: period, cpus: Int64(cpus), quietUse: floor / 5, hasAlarm: hasAlarm, law: law)
    parameters.keepsBooks = keepsBooks
    parameters.isShared = isShared
    if hook != .none {
      parameters.hasHooks = true
      parameters.hasAlarm = true
      kernel.hooks = HookLimits(
        floor: floor, quiet: floor / 5,
        margin: CPUController.slice * min(Int64(cpus), max(1, ceiling / period)))
    }
    controller = CPUController(
      parameters, quota: quota, bounds: QuotaBounds(floor: floor, ceiling: ceiling), now: 0,
      usage: 0)
    deadline = 0
  }

  /// What comes on top of the limit and one period's worth: a tick, by which each CPU overruns, and
  /// what it keeps of a slice when it has nothing to run.
  package var allowance: Nanoseconds {
    (BandwidthModel.tick + BandwidthModel.kept) * Nanoseconds(backlog.count)
  }

  /// How far use may be above the limit.
  package var depth: Nanoseconds {
    let whole = Nanoseconds(backlog.count) * period
    return max(limit, 2 * (limit - limit * limit / whole))
  }

  /// Whether there is nothing left to do.
  package var isIdle: Bool { backlog.allSatisfy { $0 <= 0 } }

  /// Runs in steps of 0.1 ms; `arrive` adds to the backlog at the beginning of each.
  package mutating func run(
    _ duration: Nanoseconds, arrive: (Nanoseconds, inout [Nanoseconds]) -> Void = { _, _ in }
  ) {
    let end = kernel.time + duration
    while kernel.time < end {
      arrive(kernel.time, &backlog)
      pass(BandwidthModel.step)
    }
  }

  /// Runs what is left to do, in steps from one event to the next.
  ///
  /// - Parameters:
  ///   - end: When to stop; rounded up to 0.1 ms.
  ///   - target: The use, since the beginning, at which to stop before.
  package mutating func run(until end: Nanoseconds, untilUsed target: Nanoseconds = .max) {
    let step = BandwidthModel.step
    if !isSupervised, backlog.count == 1 {
      return runAlone(until: (end + step - 1) / step * step, untilUsed: target)
    }
    while kernel.time < end, kernel.used < target {
      var span = end - kernel.time
      if let deadline { span = min(span, max(step, deadline - kernel.time)) }
      if isIdle {
        kernel.rest(until: kernel.time + (span + step - 1) / step * step)
        supervise(.nothing)
        continue
      }
      for work in backlog where work > 0 { span = min(span, work) }
      // What a limit of 64 CPUs is in a longer span has no place in an integer.
      span = min((span + step - 1) / step * step, 100 * step)
      pass(min(kernel.undisturbed(runnable), span))
    }
  }

  /// The same of one thread under a static limit.
  private mutating func runAlone(until end: Nanoseconds, untilUsed target: Nanoseconds) {
    while kernel.time < end, kernel.used < target {
      let work = min(backlog[0], target - kernel.used)
      if work <= 0 { return kernel.rest(until: end) }
      backlog[0] -= work - kernel.run(alone: work, until: end)
    }
  }

  private var runnable: UInt64 {
    var mask: UInt64 = 0
    for cpu in backlog.indices where backlog[cpu] > 0 { mask |= 1 << UInt64(cpu) }
    return mask
  }

  private mutating func pass(_ span: Nanoseconds) {
    let before = kernel.used
    let (ran, seen) = kernel.run(runnable, for: span)
    for cpu in backlog.indices where ran >> UInt64(cpu) & 1 == 1 { backlog[cpu] -= span }
    let used = kernel.used - before
    level = max(0, level + used - limit * span / period)
    excess = max(excess, level)
    supervise(seen)
  }

  private mutating func supervise(_ seen: BandwidthModel.Seen) {
    guard isSupervised else { return }
    let end = hook == .seeing ? kernel.periodEnd : nil
    switch (hook, seen) {
    case (.none, _), (_, .nothing): break
    case (_, .throttled):
      take(
        controller?.hear(
          .init(.throttled, periodEnd: end), usage: kernel.usage, at: kernel.time,
          surroundings: Quiet()))
    case (_, .runningOut(let left)):
      take(
        controller?.hear(
          .init(.runningOut(left: left), periodEnd: end), usage: kernel.usage, at: kernel.time,
          surroundings: Quiet()))
    }
    let called = hook == .none && isArmed && kernel.cpus.contains { $0.sinceArmed >= alarmAt }
    if called { isArmed = false }
    guard called || deadline.map({ kernel.time >= $0 }) == true else { return }
    readings += 1
    take(
      controller?.observe(
        usage: kernel.usage, at: kernel.time, called: called, surroundings: Quiet()))
  }

  private mutating func take(_ step: CPUController.Step?) {
    guard let step else { return }
    deadline = step.deadline.map { $0 + lateness() }
    if step.armsAlarm {
      isArmed = true
      kernel.arm()
    }
    guard let decision = step.decision else { return }
    writes.append(
      Write(
        time: kernel.time, before: kernel.quota, quota: decision.quota, rule: decision.rule))
    heldBefore = slack + kernel.used
    lastWrite = kernel.time
    kernel.write(decision.quota)
  }
}
