// SPDX-License-Identifier: Apache-2.0
import Hooks
import Syscalls

@testable import LiveLimits

/// One container under a simulated kernel, with a controller or without one.
struct LawSimulation {
  struct Quiet: CPUController.Surroundings {
    func wasContended() -> Bool { false }
    func isFrozen() -> Bool { false }
  }

  struct Write {
    let time: Nanoseconds
    let before: Nanoseconds
    let quota: Nanoseconds
    let rule: Rule
  }

  var kernel: SimulatedKernel
  var controller: CPUController?
  private(set) var writes: [Write] = []
  private(set) var readings = 0
  /// The most that use was above the limit: over all windows of any length.
  private(set) var excess: Nanoseconds = 0
  /// Quota that was there and not used, as CPU time.
  private(set) var slack: Nanoseconds = 0
  /// What is left to do for each thread; thread i runs on CPU i.
  var backlog: [Nanoseconds]
  /// How late the supervisor is: it has to get a CPU first.
  var lateness: () -> Nanoseconds = { 0 }
  /// Whether a hook tells of a running period, and whether it knows when that ends.
  let hook: Hook

  /// None, as where there is no BPF; else the hooks, and whether they know when a period ends.
  enum Hook: CaseIterable { case none, blind, seeing }

  private let limit: Nanoseconds
  let period: Nanoseconds
  private let alarmAt: Nanoseconds
  private var level: Nanoseconds = 0
  private var deadline: Nanoseconds?
  private var isArmed = false

  /// Starts it; no law is a static limit at `quota`.
  init(
    _ law: ControlLaw.Parameters?, quota: Nanoseconds, floor: Nanoseconds, ceiling: Nanoseconds,
    cpus: Int = 2, period: Nanoseconds = 100_000_000, phase: Nanoseconds = 0,
    hasAlarm: Bool = true, keepsBooks: Bool = true, hook: Hook = .none, isShared: Bool = false
  ) {
    self.hook = hook
    kernel = SimulatedKernel(quota: quota, period: period, phase: phase, cpus: cpus)
    backlog = Array(repeating: 0, count: cpus)
    limit = ceiling
    self.period = period
    alarmAt = floor / 5
    guard let law else { return }
    var parameters = CPUController.Parameters(
      period: period, cpus: Int64(cpus), quietUse: floor / 5, hasAlarm: hasAlarm, law: law)
    parameters.keepsBooks = keepsBooks
    parameters.isShared = isShared
    if hook != .none {
      parameters.hasHooks = true
      parameters.hasAlarm = true
      kernel.hooks = SchedulerHooks.Limits(
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
  var allowance: Nanoseconds {
    (SimulatedKernel.tick + SimulatedKernel.kept) * Nanoseconds(backlog.count)
  }

  /// How far use may be above the limit.
  var depth: Nanoseconds {
    let whole = Nanoseconds(backlog.count) * period
    return max(limit, 2 * (limit - limit * limit / whole))
  }

  /// Runs; `arrive` adds to the backlog at the beginning of each step.
  mutating func run(
    _ duration: Nanoseconds, arrive: (Nanoseconds, inout [Nanoseconds]) -> Void = { _, _ in }
  ) {
    let end = kernel.time + duration
    while kernel.time < end {
      arrive(kernel.time, &backlog)
      let before = kernel.used
      let (ran, seen) = kernel.run(backlog.map { $0 > 0 })
      for cpu in ran.indices where ran[cpu] { backlog[cpu] -= SimulatedKernel.step }
      let used = kernel.used - before
      level = max(0, level + used - limit * SimulatedKernel.step / period)
      excess = max(excess, level)
      slack += kernel.quota * SimulatedKernel.step / period - used
      supervise(seen)
    }
  }

  private mutating func supervise(_ seen: SimulatedKernel.Seen) {
    guard controller != nil else { return }
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
    kernel.write(decision.quota)
  }
}
