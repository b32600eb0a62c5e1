// SPDX-License-Identifier: Apache-2.0
public import Syscalls

extension CPUController {
  /// sched_cfs_bandwidth_slice_us of the kernel (Documentation/scheduler/sched-bwc.rst): 5 ms.
  public static let slice: Nanoseconds = 5_000_000

  /// What does not change while a container lives.
  public struct Parameters: Equatable, Sendable {
    /// The CFS period in nanoseconds.
    public var period: Nanoseconds
    /// CPUs the container can run on at once.
    public var cpus: Int64
    /// CPU time a period below which a container counts as quiet: a fifth of the floor.
    public var quietUse: Nanoseconds
    /// Whether a ``Hooks/BusyAlarm`` calls when a quiet container starts to use CPU.
    public var hasAlarm: Bool
    /// Whether ``CPUController/KernelEvent``s come when the quota runs short: then a busy container
    /// is looked at once a period.
    public var hasHooks = false
    /// The kernel hands quota to CPUs in slices of this size (sched_cfs_bandwidth_slice_us), so a
    /// group is throttled with up to one of them unused.
    public var slice: Nanoseconds = CPUController.slice
    /// The shortest time between two readings.
    public var shortestSample: Nanoseconds = 1_000_000
    /// The shortest time over which a pace is measured: the kernel brings the usage of a running
    /// task up to date at its ticks, which are 4 ms apart (HZ=250); less than two tell nothing.
    public var paceSpan: Nanoseconds = 8_000_000
    /// The time between two readings of a quiet container where there is no alarm: 20 a second.
    public var poll: Nanoseconds = 50_000_000
    /// How long after a period's end what is due is written, so that the kernel has refilled it.
    public var boundaryDelay: Nanoseconds = 200_000
    /// The law, and its constants.
    public var law: ControlLaw.Parameters
    /// Whether a limit is shared with others: what is decided is what is wanted, and
    /// ``CPUController/hold(_:)`` says what came of it.
    public var isShared = false
    /// Whether it may be raised as often as it takes, for others keep its books, and somebody says
    /// when it is time.
    var isPrompt: Bool { isShared && hasHooks }
    /// Whether a hook says when this quota runs short.
    ///
    /// Where nothing is written, the kernel has another one, which the hook speaks of.
    var isTold: Bool { hasHooks && keepsBooks }
    /// Whether writes wait for the books: not where nothing is written, nor in the tests that show
    /// what the books are for.
    var keepsBooks = true

    /// Makes the parameters of one container.
    public init(
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
  public protocol Surroundings {
    /// Whether the container waited for CPUs that others had, since the last time it was asked.
    func wasContended() -> Bool
    /// Whether the container is frozen (paused).
    func isFrozen() -> Bool
  }

  /// What to do now.
  public struct Step: Equatable, Sendable {
    /// The quota to set, and why; nil to leave it.
    public var decision: QuotaDecision?
    /// The use that the decision was made from, in nanoseconds of CPU time a period.
    public var use: Nanoseconds = 0
    /// When to read again; nil: when the alarm calls.
    public var deadline: Nanoseconds?
    /// Whether to arm the alarm.
    public var armsAlarm = false
  }

  /// What a hook in the scheduler saw of the running period.
  public struct KernelEvent: Equatable, Sendable {
    /// What happened.
    public enum Kind: Equatable, Sendable {
      /// What is left of the period's runtime fell below the margin; so many nanoseconds are left.
      case runningOut(left: Nanoseconds)
      /// The group was throttled.
      case throttled
    }

    /// What happened.
    public var kind: Kind
    /// When the kernel refills the group's runtime next, on CLOCK_MONOTONIC; nil: not known.
    public var periodEnd: Nanoseconds?

    /// Makes an event.
    public init(_ kind: Kind, periodEnd: Nanoseconds? = nil) {
      self.kind = kind
      self.periodEnd = periodEnd
    }
  }

  /// What happened so far.
  ///
  /// The kernel's own count of throttles stays 0 under a fast controller.
  public struct Counters: Equatable, Sendable {
    /// Nothing has happened.
    public init() {}

    /// Raises that came before the quota was used up.
    public var predictions: Int64 = 0
    /// Times the quota was seen to be used up, or a hook said so.
    public var throttles: Int64 = 0
    /// Times a group above the container's was throttled, and it with that one.
    public var ancestorThrottles: Int64 = 0
    /// Raises, whatever for.
    public var raises: Int64 = 0
    /// Cuts, whatever for.
    public var returns: Int64 = 0
    /// Writes that waited because the books did not allow them yet.
    public var deferrals: Int64 = 0
    /// Nanoseconds from a hook's word of a throttle to the raise or the period's end.
    public var stalled: Nanoseconds = 0

    /// Supervisors that the container has had; 0 where an earlier version counted, and then what
    /// follows is not known.
    public var supervisors: Int64 = 0
    /// Times the kernel refused a CPU limit.
    public var refusals: Int64 = 0
    /// Raises of the memory limit.
    public var memoryRaises: Int64 = 0
    /// Cuts of it.
    public var memoryReturns: Int64 = 0
    /// Times it was not raised although the container wanted more: its bound, the machine's reserve
    /// or the kernel was in the way.
    public var memoryRefusals: Int64 = 0
  }
}
