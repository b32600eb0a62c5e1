// SPDX-License-Identifier: Apache-2.0
import Hooks
import Syscalls

@testable import LiveLimits

/// CFS bandwidth control as the kernel does it (kernel/sched/fair.c, core.c), in steps of 0.1 ms.
///
/// A pool that the period's timer fills up; slices of it on each CPU that runs; a CPU that finds
/// the pool empty is throttled. What a CPU used is only known at its tick, so it overruns by up to
/// one, which it has to pay back, unless somebody writes the quota: then the pool is full, the
/// slices are gone and so is the debt.
struct SimulatedKernel {
  static let step: Nanoseconds = 100_000
  static let tick: Nanoseconds = 4_000_000
  static let slice: Nanoseconds = 5_000_000
  /// What a CPU keeps when it has nothing to run (min_cfs_rq_runtime).
  static let kept: Nanoseconds = 1_000_000

  struct CPU {
    var remaining: Nanoseconds = 0
    var uncounted: Nanoseconds = 0
    var isThrottled = false
    var isRunning = false
    /// Used since the alarm was armed.
    var sinceArmed: Nanoseconds = 0
  }

  /// What a hook would tell of one step.
  enum Seen { case nothing, runningOut(left: Nanoseconds), throttled }

  private(set) var time: Nanoseconds = 0
  private(set) var quota: Nanoseconds
  private(set) var cpus: [CPU]
  /// What has been used, and what cpuacct.usage says.
  private(set) var used: Nanoseconds = 0
  private(set) var usage: Nanoseconds = 0
  /// As throttled_time counts: for each CPU.
  private(set) var throttled: Nanoseconds = 0
  private var pool: Nanoseconds
  private let period: Nanoseconds
  private let phase: Nanoseconds
  /// What is worth telling, as Sources/CBPF/bpf/hooks.bpf.c sees it; nil without hooks.
  var hooks: SchedulerHooks.Limits?
  private var told = (end: Nanoseconds.min, quota: Nanoseconds.min, left: Nanoseconds.max)
  private var left: Nanoseconds?

  init(quota: Nanoseconds, period: Nanoseconds, phase: Nanoseconds, cpus: Int) {
    self.quota = quota
    self.period = period
    self.phase = phase / Self.step * Self.step
    pool = quota
    self.cpus = Array(repeating: CPU(), count: cpus)
  }

  /// When the timer refills the pool next.
  var periodEnd: Nanoseconds {
    time - (time - phase + period) % period + period
  }

  /// tg_set_cfs_bandwidth(): a full refill, whatever the value.
  mutating func write(_ quota: Nanoseconds) {
    self.quota = quota
    pool = quota
    for cpu in cpus.indices {
      cpus[cpu].remaining = 0
      cpus[cpu].isThrottled = false
    }
  }

  mutating func arm() { for cpu in cpus.indices { cpus[cpu].sinceArmed = 0 } }

  /// Lets 0.1 ms pass.
  ///
  /// - Parameter runnable: Whether there is something to run, for each CPU.
  /// - Returns: How long each CPU ran, and what a hook would tell.
  mutating func run(_ runnable: [Bool]) -> (ran: [Bool], seen: Seen) {
    var wasThrottled = false
    left = nil
    var ran = Array(repeating: false, count: cpus.count)
    for cpu in cpus.indices {
      if runnable[cpu] && !cpus[cpu].isRunning && !cpus[cpu].isThrottled {
        // check_enqueue_throttle(): nothing runs without runtime.
        if cpus[cpu].remaining <= 0 { wasThrottled = !assign(cpu) || wasThrottled }
      } else if !runnable[cpu] && cpus[cpu].isRunning {
        wasThrottled = !count(cpu) || wasThrottled
        giveBack(cpu)
      }
      cpus[cpu].isRunning = runnable[cpu] && !cpus[cpu].isThrottled
      if runnable[cpu] && cpus[cpu].isThrottled { throttled += Self.step }
      guard cpus[cpu].isRunning else { continue }
      ran[cpu] = true
      used += Self.step
      cpus[cpu].uncounted += Self.step
      cpus[cpu].sinceArmed += Self.step
    }
    time += Self.step
    for cpu in cpus.indices where cpus[cpu].isRunning {
      if (time + Nanoseconds(cpu) * 1_300_000) % Self.tick == 0 {
        wasThrottled = !count(cpu) || wasThrottled
        cpus[cpu].isRunning = !cpus[cpu].isThrottled
      }
    }
    if time % period == phase % period { refill() }
    if wasThrottled { return (ran, .throttled) }
    return (ran, left.map { .runningOut(left: $0) } ?? .nothing)
  }

  /// look() of the program behind sched_stat_runtime: before the CPU time is charged.
  private mutating func look(_ cpu: Int) {
    guard let hooks else { return }
    let left = pool + cpus[cpu].remaining - cpus[cpu].uncounted
    var margin = min(quota / 2, hooks.margin)
    if quota <= hooks.floor { margin = max(margin, quota - hooks.quiet) }
    guard left < margin else { return }
    if told.end == periodEnd && told.quota == quota && left * 2 >= told.left { return }
    told = (periodEnd, quota, left)
    self.left = min(self.left ?? .max, left)
  }

  private mutating func refill() {
    pool = quota
    distribute()
  }

  /// Pays the debts of throttled CPUs, so that they run again.
  private mutating func distribute() {
    for cpu in cpus.indices where cpus[cpu].isThrottled {
      let given = min(pool, 1 - cpus[cpu].remaining)
      pool -= given
      cpus[cpu].remaining += given
      cpus[cpu].isThrottled = cpus[cpu].remaining <= 0
    }
  }

  /// update_curr(): false when the CPU is throttled now.
  private mutating func count(_ cpu: Int) -> Bool {
    look(cpu)
    usage += cpus[cpu].uncounted
    cpus[cpu].remaining -= cpus[cpu].uncounted
    cpus[cpu].uncounted = 0
    return cpus[cpu].remaining > 0 || assign(cpu)
  }

  private mutating func assign(_ cpu: Int) -> Bool {
    let given = min(pool, Self.slice - cpus[cpu].remaining)
    pool -= given
    cpus[cpu].remaining += given
    cpus[cpu].isThrottled = cpus[cpu].remaining <= 0
    return !cpus[cpu].isThrottled
  }

  /// return_cfs_rq_runtime(), and the slack timer that gives it to who is throttled.
  private mutating func giveBack(_ cpu: Int) {
    let slack = cpus[cpu].remaining - Self.kept
    guard slack > 0 else { return }
    cpus[cpu].remaining = Self.kept
    pool += slack
    if pool > Self.slice { distribute() }
  }
}
