// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// CFS bandwidth control as the kernel does it (kernel/sched/fair.c, core.c).
///
/// A pool that the period's timer fills up; slices of it on each CPU that runs; a CPU that finds
/// the pool empty is throttled. What a CPU used is only known at its tick, so it overruns by up to
/// one, which it has to pay back, unless the quota is written: then the pool is full, the
/// slices are gone and so is the debt. Time is in units of 0.1 ms.
package struct BandwidthModel: Sendable {
  /// The shortest time that is told apart.
  package static let step: Nanoseconds = 100_000
  /// The kernel's tick, at 250 Hz.
  package static let tick: Nanoseconds = 4_000_000
  static let slice: Nanoseconds = 5_000_000
  /// What a CPU keeps when it has nothing to run (min_cfs_rq_runtime).
  package static let kept: Nanoseconds = 1_000_000
  /// By how much the ticks of two CPUs are apart.
  private static let skew: Nanoseconds = 1_300_000

  /// One CPU of the model.
  package struct CPU: Equatable, Sendable {
    var remaining: Nanoseconds = 0
    var uncounted: Nanoseconds = 0
    var isThrottled = false
    var isRunning = false
    /// Used since the alarm was armed.
    package var sinceArmed: Nanoseconds = 0
  }

  /// What a hook would tell of one step.
  package enum Seen: Sendable {
    /// Nothing that a hook reports.
    case nothing
    /// So much of the quota is left, and the rest is about to be used up.
    case runningOut(left: Nanoseconds)
    /// The quota is used up.
    case throttled
  }

  /// The time since the model began.
  package private(set) var time: Nanoseconds = 0
  /// The limit, in nanoseconds of CPU time a period.
  package private(set) var quota: Nanoseconds
  /// The CPUs.
  package private(set) var cpus: [CPU]
  /// What has been used.
  package private(set) var used: Nanoseconds = 0
  /// What cpuacct.usage says.
  package private(set) var usage: Nanoseconds = 0
  /// As throttled_time counts: for each CPU.
  package private(set) var throttled: Nanoseconds = 0
  private var pool: Nanoseconds
  private let period: Nanoseconds
  /// What is worth telling, as Sources/CBPF/bpf/hooks.bpf.c sees it; nil without hooks.
  package var hooks: HookLimits?
  private var told = (end: Nanoseconds.min, quota: Nanoseconds.min, left: Nanoseconds.max)
  private var left: Nanoseconds?
  /// When the timer refills the pool next.
  package private(set) var periodEnd: Nanoseconds

  /// A machine that runs nothing yet.
  package init(quota: Nanoseconds, period: Nanoseconds, phase: Nanoseconds, cpus: Int) {
    self.quota = quota
    self.period = period
    // From its creation on a group's timer keeps its phase, whatever rests in between
    // (hrtimer_forward_now() in start_cfs_bandwidth()).
    let phase = phase % period / Self.step * Self.step
    periodEnd = phase > 0 ? phase : period
    pool = quota
    self.cpus = Array(repeating: CPU(), count: min(cpus, 64))
  }

  /// tg_set_cfs_bandwidth(): a full refill, whatever the value.
  package mutating func write(_ quota: Nanoseconds) {
    self.quota = quota
    pool = quota
    for cpu in cpus.indices {
      cpus[cpu].remaining = 0
      cpus[cpu].isThrottled = false
    }
  }

  /// Arms the alarm of a quiet container.
  package mutating func arm() { for cpu in cpus.indices { cpus[cpu].sinceArmed = 0 } }

  /// For how long nothing happens but that the same CPUs run: to the next tick or period.
  ///
  /// - Parameter runnable: A bit for each CPU that has something to run.
  /// - Returns: The time.
  package func undisturbed(_ runnable: UInt64) -> Nanoseconds {
    var time = periodEnd - self.time
    for cpu in cpus.indices where runnable >> UInt64(cpu) & 1 == 1 && !cpus[cpu].isThrottled {
      time = min(time, Self.tick - (self.time + Nanoseconds(cpu) * Self.skew) % Self.tick)
    }
    return time
  }

  /// Lets time pass.
  ///
  /// - Parameters:
  ///   - runnable: A bit for each CPU that has something to run.
  ///   - span: 0.1 ms, or a multiple of it that is at most ``undisturbed(_:)``.
  /// - Returns: A bit for each CPU that ran, and what a hook would tell.
  package mutating func run(
    _ runnable: UInt64, for span: Nanoseconds = step
  ) -> (ran: UInt64, seen: Seen) {
    var wasThrottled = false
    left = nil
    var ran: UInt64 = 0
    for cpu in cpus.indices {
      let isRunnable = runnable >> UInt64(cpu) & 1 == 1
      if isRunnable && !cpus[cpu].isRunning && !cpus[cpu].isThrottled {
        // check_enqueue_throttle(): nothing runs without runtime.
        if cpus[cpu].remaining <= 0 { wasThrottled = !assign(cpu) || wasThrottled }
      } else if !isRunnable && cpus[cpu].isRunning {
        wasThrottled = !count(cpu) || wasThrottled
        giveBack(cpu)
      }
      cpus[cpu].isRunning = isRunnable && !cpus[cpu].isThrottled
      if isRunnable && cpus[cpu].isThrottled { throttled += span }
      guard cpus[cpu].isRunning else { continue }
      ran |= 1 << UInt64(cpu)
      used += span
      cpus[cpu].uncounted += span
      cpus[cpu].sinceArmed += span
    }
    time += span
    for cpu in cpus.indices where cpus[cpu].isRunning {
      if (time + Nanoseconds(cpu) * Self.skew) % Self.tick == 0 {
        wasThrottled = !count(cpu) || wasThrottled
        cpus[cpu].isRunning = !cpus[cpu].isThrottled
      }
    }
    if time == periodEnd { refill() }
    if wasThrottled { return (ran, .throttled) }
    return (ran, left.map { .runningOut(left: $0) } ?? .nothing)
  }

  /// Lets time pass in which nothing is runnable: any multiple of 0.1 ms.
  package mutating func rest(until end: Nanoseconds) {
    guard end > time else { return }
    // What ran until now gives back what it has left.
    _ = run(0)
    guard end > time else { return }
    time = end
    guard end >= periodEnd else { return }
    // One refill stands for all of them.
    periodEnd += (end - periodEnd) / period * period
    refill()
  }

  /// Works on the first CPU alone, which hooks do not see: what ``run(_:for:)`` does from tick to tick
  /// on any number of CPUs, in one call.
  ///
  /// - Parameters:
  ///   - work: CPU time to be used.
  ///   - end: When to stop before.
  /// - Returns: What is left of the work.
  package mutating func run(alone work: Nanoseconds, until end: Nanoseconds) -> Nanoseconds {
    guard work > 0, time < end else { return work }
    var cpu = cpus[0]
    var (now, pool, left) = (time, pool, work)
    func assign() {
      let given = min(pool, Self.slice - cpu.remaining)
      pool -= given
      cpu.remaining += given
      cpu.isThrottled = cpu.remaining <= 0
    }
    if !cpu.isRunning, !cpu.isThrottled, cpu.remaining <= 0 { assign() }
    var tick = now - now % Self.tick + Self.tick
    while now < end, left > 0 {
      let next = min(periodEnd, end)
      cpu.isRunning = !cpu.isThrottled
      if cpu.isThrottled {
        throttled += next - now
        now = next
      } else {
        let moment = min(tick, next, now + left)
        cpu.uncounted += moment - now
        left -= moment - now
        now = moment
        if now == tick {
          usage += cpu.uncounted
          cpu.remaining -= cpu.uncounted
          cpu.uncounted = 0
          if cpu.remaining <= 0 { assign() }
          cpu.isRunning = !cpu.isThrottled
          tick += Self.tick
        }
      }
      if now == periodEnd {
        pool = quota
        periodEnd += period
        if cpu.isThrottled {
          let given = min(pool, 1 - cpu.remaining)
          pool -= given
          cpu.remaining += given
          cpu.isThrottled = cpu.remaining <= 0
        }
        tick = now - now % Self.tick + Self.tick
      }
    }
    used += work - left
    cpu.sinceArmed += work - left
    (time, self.pool) = (now, pool)
    cpus[0] = cpu
    return left
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
    periodEnd += period
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

  /// return_cfs_rq_runtime(), and the slack timer that gives it to a throttled group.
  private mutating func giveBack(_ cpu: Int) {
    let slack = cpus[cpu].remaining - Self.kept
    guard slack > 0 else { return }
    cpus[cpu].remaining = Self.kept
    pool += slack
    if pool > Self.slice { distribute() }
  }
}
