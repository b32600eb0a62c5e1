// SPDX-License-Identifier: Apache-2.0
package import Quantities

extension CPUController {
  /// sched_cfs_bandwidth_slice_us of the kernel (Documentation/scheduler/sched-bwc.rst): 5 ms.
  package static let slice: Nanoseconds = 5_000_000

  /// What does not change while a container lives.
  package struct Parameters: Equatable, Sendable {
    /// The CFS period in nanoseconds.
    package var period: Nanoseconds
    /// CPUs the container can run on at once.
    package var cpus: Int64
    /// CPU time a period below which a container counts as quiet: a fifth of the floor.
    package var quietUse: Nanoseconds
    /// Whether a ``Hooks/IdleWakeup`` calls when a quiet container starts to use CPU.
    package var hasAlarm: Bool
    /// Whether ``CPUController/KernelEvent``s come when the quota runs short: then a busy container
    /// is looked at once a period.
    package var hasHooks = false
    /// The kernel hands quota to CPUs in slices of this size (sched_cfs_bandwidth_slice_us), so a
    /// group is throttled with up to one of them unused.
    package var slice: Nanoseconds = CPUController.slice
    /// The shortest time between two readings.
    package var shortestSample: Nanoseconds = 1_000_000
    /// The shortest time over which a pace is measured: the kernel brings the usage of a running
    /// task up to date at its ticks, which are 4 ms apart (HZ=250); less than two tell nothing.
    package var paceSpan: Nanoseconds = 8_000_000
    /// The time between two readings of a quiet container where there is no alarm: 20 a second.
    package var poll: Nanoseconds = 50_000_000
    /// How long after a period's end what is due is written, so that the kernel has refilled it.
    package var boundaryDelay: Nanoseconds = 200_000
    /// The law, and its constants.
    package var law: ControlLaw.Parameters
    /// Whether a limit is shared with others: what is decided is what is wanted, and
    /// ``CPUController/hold(_:)`` says what came of it.
    package var isShared = false
    /// Whether it may be raised as often as it takes, for others keep its books, and a hook says
    /// when it is time.
    var isPrompt: Bool { isShared && hasHooks }
    /// Whether a hook says when this quota runs short.
    ///
    /// Where nothing is written, the kernel has another one, which the hook speaks of.
    var isTold: Bool { hasHooks && keepsBooks }
    /// Whether writes wait for the books: not where nothing is written, nor in the tests that show
    /// what the books are for.
    package var keepsBooks = true

    /// Makes the parameters of one container.
    package init(
      period: Nanoseconds, cpus: Int64, quietUse: Nanoseconds, hasAlarm: Bool,
      law: ControlLaw.Parameters = .headroom(.standard)
    ) {
      self.period = period
      self.cpus = cpus
      self.quietUse = quietUse
      self.hasAlarm = hasAlarm
      self.law = law.scaled(toPeriod: period)
    }
  }

  /// What the world outside knows at the moment of a reading; asked only when it matters.
  package protocol Environment {
    /// Whether the container waited for CPUs that others had, since the last time it was asked.
    func wasContended() -> Bool
    /// Whether the container is frozen (paused).
    func isFrozen() -> Bool
  }

  /// What to do now.
  package struct Step: Equatable, Sendable {
    /// The quota to set, and why; nil to leave it.
    package var decision: QuotaDecision?
    /// The use that the decision was made from, in nanoseconds of CPU time a period.
    package var use: Nanoseconds = 0
    /// When to read again; nil: when the alarm calls.
    package var deadline: Nanoseconds?
    /// Whether to arm the alarm.
    package var armsAlarm = false
  }

  /// What a hook in the scheduler saw of the running period.
  package struct KernelEvent: Equatable, Sendable {
    /// What happened.
    package enum Kind: Equatable, Sendable {
      /// What is left of the period's runtime fell below the margin; so many nanoseconds are left.
      case runningOut(left: Nanoseconds)
      /// The group was throttled.
      case throttled
    }

    /// What happened.
    package var kind: Kind
    /// When the kernel refills the group's runtime next, on CLOCK_MONOTONIC; nil: not known.
    package var periodEnd: Nanoseconds?

    /// Makes an event.
    package init(_ kind: Kind, periodEnd: Nanoseconds? = nil) {
      self.kind = kind
      self.periodEnd = periodEnd
    }
  }

  /// What happened so far.
  ///
  /// The kernel's own count of throttles stays 0 under a fast controller.
  package struct Counters: Equatable, Sendable {
    /// Nothing has happened.
    package init() {}

    /// Raises that came before the quota was used up.
    package var predictions: Int64 = 0
    /// Times the quota was seen to be used up, or a hook said so.
    package var throttles: Int64 = 0
    /// Times a group above the container's was throttled, and it with that one.
    package var ancestorThrottles: Int64 = 0
    /// Raises, whatever for.
    package var raises: Int64 = 0
    /// Cuts, whatever for.
    package var returns: Int64 = 0
    /// Writes that waited because the books did not allow them yet.
    package var deferrals: Int64 = 0
    /// Nanoseconds from a hook's word of a throttle to the raise or the period's end.
    package var stalled: Nanoseconds = 0

    /// Supervisors that the container has had; 0 where an earlier version counted, and then what
    /// follows is not known.
    package var supervisors: Int64 = 0
    /// Times the kernel refused a CPU limit.
    package var refusals: Int64 = 0
    /// Raises of the memory limit.
    package var memoryRaises: Int64 = 0
    /// Cuts of it.
    package var memoryReturns: Int64 = 0
    /// Times it was not raised although the container wanted more: its bound, the machine's reserve
    /// or the kernel was in the way.
    package var memoryRefusals: Int64 = 0
  }
}
