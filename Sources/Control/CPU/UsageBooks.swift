// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What an application used above its limit, and so what may still be granted.
///
/// Every write of a quota is a full refill (kernel/sched/core.c, tg_set_cfs_bandwidth), and what a
/// group overran is forgotten with it: a sum of quotas limits nothing, use does. So use above the
/// limit fills a bucket, which the limit drains, and a quota is only written when the bucket can
/// take all that the kernel will let the group use under it. What was overrun is in the bucket:
/// the next grant is smaller by it.
///
/// With C the limit as CPU time a period and n CPUs, a group that uses x in one go overshoots the
/// limit by x(1 - C/nP), because the limit drains meanwhile. Under a constant quota of C the kernel
/// itself lets it have twice C in one go, at the end of one period and the beginning of the next;
/// the bucket is as deep as that, and never shallower than C. For every window of T then
///
///     use <= limit x T + max(C, 2C(1 - C/nP)) + what the kernel counts late
///
/// and that last part is a tick a CPU that a group overruns and one that a reading lags.
package struct UsageBooks: Sendable {
  /// The limit, as CPU time a period, and the period: what drains.
  private var limit: Nanoseconds
  private let period: Nanoseconds
  private let cpus: Int64
  /// CPU time used above the limit, as far as is known: never less than what is true.
  package private(set) var excess: Nanoseconds
  private var time: Nanoseconds
  private var usage: Nanoseconds

  /// Opens the books of a container.
  ///
  /// What went before is not known, so the bucket counts as full: after a takeover nothing extra
  /// is granted until it has drained. But no container has ever used more than all of the usage.
  ///
  /// - Parameters:
  ///   - limit: What the application may use, in nanoseconds of CPU time a period.
  ///   - period: The CFS period in nanoseconds.
  ///   - cpus: CPUs that it can use at once.
  ///   - now: The time.
  ///   - usage: CPU time used until now, in nanoseconds, since the container began.
  package init(
    limit: Nanoseconds, period: Nanoseconds, cpus: Int64, now: Nanoseconds, usage: Nanoseconds
  ) {
    self.limit = limit
    self.period = max(period, 1)
    self.cpus = max(cpus, 1)
    time = now
    self.usage = usage
    excess = 0
    excess = min(depth, overshoot(max(usage, 0)))
  }

  /// How far use may be above the limit, in nanoseconds.
  package var depth: Nanoseconds { max(limit, 2 * overshoot(limit)) }

  /// Takes note of a reading.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far, in nanoseconds.
  ///   - now: When it was read.
  package mutating func charge(usage: Nanoseconds, at now: Nanoseconds) {
    let used = max(0, usage - self.usage)
    let elapsed = max(0, now - time)
    let silence = elapsed - used / cpus
    if silence >= 0 {
      // Nothing tells when it was used. The worst is: at the end, and on all CPUs at once.
      excess = max(0, excess - drained(in: silence)) + overshoot(used)
    } else {
      // More than fits: the kernel had not counted all of it at the last reading.
      excess += max(0, used - drained(in: elapsed))
    }
    self.usage = usage
    time = now
  }

  /// Takes note of another limit; what was used stays used.
  package mutating func set(limit: Nanoseconds) { self.limit = limit }

  /// The most that may be written as a quota now.
  ///
  /// Where nothing says when the period ends, it may end right after the write, and all that was
  /// written is there a second time. Where it is known, only as much has to be kept back as the
  /// full value at the boundary will need.
  ///
  /// - Parameters:
  ///   - wanted: The quota that is wanted, at most the limit.
  ///   - periodEnd: When the kernel's period ends, and `wanted` is to be written; nil: not known.
  /// - Returns: What may be written at the time of the last reading; it may be negative.
  package func grant(_ wanted: Nanoseconds, periodEnd: Nanoseconds? = nil) -> Nanoseconds {
    let free = depth - excess
    guard isConstrained else { return wanted }
    guard let periodEnd else { return min(wanted, burst(of: free) / 2) }
    let kept = depth - overshoot(wanted)
    let now = min(burst(of: free), burst(of: kept))
    return min(wanted, now, kept - excess + drained(in: max(0, periodEnd - time)))
  }

  /// When as much may be written if nothing is used until then.
  package func moment(of quota: Nanoseconds) -> Nanoseconds {
    let surplus = excess - (depth - 2 * overshoot(quota))
    guard surplus > 0, isConstrained else { return time }
    return time + CFSBandwidth.scaled(surplus, by: period, over: max(limit, 1), roundingUp: true)
  }

  /// Where the limit is all the CPUs there are, they are the limit.
  private var isConstrained: Bool { limit < spare.whole }

  private var spare: (part: Nanoseconds, whole: Nanoseconds) {
    (max(0, cpus * period - limit), cpus * period)
  }

  /// How far a use in one go, on all CPUs, gets above the limit.
  private func overshoot(_ use: Nanoseconds) -> Nanoseconds {
    CFSBandwidth.scaled(use, by: spare.part, over: spare.whole, roundingUp: true)
  }

  /// The use in one go that gets this far above the limit.
  private func burst(of overshoot: Nanoseconds) -> Nanoseconds {
    overshoot < 0
      ? overshoot : CFSBandwidth.scaled(overshoot, by: spare.whole, over: max(spare.part, 1))
  }

  private func drained(in time: Nanoseconds) -> Nanoseconds {
    CFSBandwidth.scaled(time, by: limit, over: period)
  }
}
