// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a member of an application used above what it holds of the application's limit, and so how
/// much of that may be written as a quota now.
///
/// Every write of a quota is a full refill (kernel/sched/core.c, tg_set_cfs_bandwidth): limits
/// whose sum is right, written often enough, limit nothing. ``UsageBooks`` see to that for a
/// container alone. A member holds little more than it uses, and what it holds changes all the
/// time; so its bucket drains by what it holds, is as deep as two periods' worth of that, and takes
/// what was used as it was read, as if evenly spread. A container that uses what it holds and no
/// more never meets it.
///
/// Together members hold no more than the application's limit. What one gives back takes what was
/// used of it along, to rest at the broker's (``ApplicationRules/restsSpent``). So the buckets of
/// all together are as deep as two periods' worth of the limit, and never deeper.
package struct MemberBooks: Sendable {
  /// What the member holds, as CPU time a period, and the period: what drains.
  package private(set) var held: Nanoseconds
  private let period: Nanoseconds
  /// CPU time used above what was held.
  package private(set) var excess: Nanoseconds
  private var time: Nanoseconds
  private var usage: Nanoseconds

  /// What a write is to be, and when to try for what is left.
  package struct Write: Equatable, Sendable {
    /// The quota in nanoseconds of CPU time a period; nil to leave the one that is in force.
    package var quota: Nanoseconds?
    /// When more may be written if little is used until then; nil when all is.
    package var due: Nanoseconds?
  }

  /// Opens the books of a member.
  ///
  /// What went before is not known, so the bucket counts as full, as after every death of a
  /// supervisor; but no container has ever used more than all of the usage.
  ///
  /// - Parameters:
  ///   - held: What it holds, in nanoseconds of CPU time a period.
  ///   - period: The CFS period in nanoseconds.
  ///   - now: The time.
  ///   - usage: CPU time used until now, in nanoseconds, since the container began.
  package init(held: Nanoseconds, period: Nanoseconds, now: Nanoseconds, usage: Nanoseconds) {
    self.held = held
    self.period = max(period, 1)
    self.usage = usage
    time = now
    excess = min(2 * held, max(usage, 0))
  }

  /// Takes note of a reading.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far, in nanoseconds.
  ///   - now: When it was read.
  package mutating func charge(usage: Nanoseconds, at now: Nanoseconds) {
    let drained = CFSBandwidth.scaled(max(0, now - time), by: held, over: period)
    excess = max(0, excess + max(0, usage - self.usage) - drained)
    self.usage = usage
    time = now
  }

  /// Takes note of what the member holds from now on; what was used stays used.
  package mutating func hold(_ held: Nanoseconds) { self.held = held }

  /// What to write so that the kernel's quota is what is held, or comes as near as it may.
  ///
  /// - Parameters:
  ///   - quota: What is in force, in nanoseconds of CPU time a period.
  ///   - now: The time, not before the last reading's.
  /// - Returns: The write. Less than what is in force always is one, for others wait for it: where
  ///   the refill that comes with it would be too much, it is less than what is held.
  package func write(over quota: Nanoseconds, at now: Nanoseconds) -> Write {
    let granted = min(held, 2 * held - excess)
    if granted >= held { return Write(quota: held == quota ? nil : held) }
    let due = max(
      now + period / 8,
      time + CFSBandwidth.scaled(excess - held, by: period, over: max(held, 1), roundingUp: true))
    if held < quota {
      return Write(quota: min(held, max(granted, CFSBandwidth.minimum * 1000)), due: due)
    }
    // A raise is a refill, which is worth it when it brings half of what is missing.
    let isWorthwhile = granted >= quota + (held - quota + 1) / 2
    return Write(quota: isWorthwhile && granted > quota ? granted : nil, due: due)
  }
}
