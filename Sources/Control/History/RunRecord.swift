// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What one supervisor saw of one run of a container: 1 KiB of a profile's history.
///
/// A later record of the same run and start takes the place of an earlier one: a long run leaves
/// snapshots. A run whose supervisor was replaced has records with several starts.
package struct RunRecord: Equatable, Sendable {
  /// The instance of the container.
  package var nonce: UInt64
  /// Whether the container has ended.
  package var isFinal = false
  /// Whether its limits were left alone: `observe`.
  package var isObserved = false
  /// Whether its CPU use is the most of any period, and not that of the recorder's own periods.
  package var isSeenInQuarters = false
  /// When the supervisor began, on the wall clock.
  package var started: Nanoseconds
  /// When the record was written, on the wall clock.
  package var written: Nanoseconds = 0
  /// For how long it was seen.
  package var duration: Nanoseconds = 0
  /// The CFS period.
  package var period: Nanoseconds
  /// The declared CPU limit in nanocores; 0 for none.
  package var declaredCPU: Int64 = 0
  /// The declared memory limit in bytes; 0 for none.
  package var declaredMemory: Int64 = 0
  /// CPU time used.
  package var usedCPU: Nanoseconds = 0
  /// CPU time that the limit allowed; under `observe`, that it would have.
  package var heldCPU: Nanoseconds = 0
  /// The memory limit over time, in KiB seconds; 0 where memory was not moved.
  package var heldMemory: Int64 = 0
  /// The most memory that was charged to it, as the kernel kept it, in bytes.
  package var memoryPeak: Int64 = 0
  /// The most memory of the first ten seconds, in bytes.
  package var earlyMemory: Int64 = 0
  /// The most CPU of a period, in nanocores.
  package var cpuPeak: Int64 = 0
  /// The most CPU of a period of the first ten seconds, in nanocores.
  package var earlyCPU: Int64 = 0
  /// For how long it waited for a raise, as hooks saw it.
  package var stalled: Nanoseconds = 0
  /// For how long the kernel throttled it, counted on each CPU.
  package var throttledTime: Nanoseconds = 0
  /// How long its busy periods were together.
  package var busy: Nanoseconds = 0
  /// The most CPU time of a burst.
  package var longestBurst: Nanoseconds = 0
  /// What happened to its limits.
  package var events = Events()
  /// CPU use of its busy periods, in nanocores.
  package var cpu = Histogram(.cpu)
  /// CPU time of its bursts: busy periods without a quiet one in between.
  package var bursts = Histogram(.burst)
  /// The most memory of each second in which it was busy.
  package var memory = Histogram(.memory)

  /// How often something happened to the limits of a run.
  package struct Events: Equatable, Sendable {
    /// Raises of the CPU limit.
    package var raises: UInt32 = 0
    /// Cuts of it.
    package var returns: UInt32 = 0
    /// Times the quota was seen to be used up.
    package var throttles: UInt32 = 0
    /// Times the kernel refused a CPU limit.
    package var refusals: UInt32 = 0
    /// Raises of the memory limit.
    package var memoryRaises: UInt32 = 0
    /// Times it was not raised although more was wanted.
    package var memoryRefusals: UInt32 = 0
    /// Processes that the kernel killed for want of memory.
    package var kills: UInt32 = 0

    /// Nothing has happened.
    package init() {}
  }

  /// Makes the record of a run that begins.
  package init(nonce: UInt64, started: Nanoseconds, period: Nanoseconds) {
    self.nonce = nonce
    self.started = started
    self.period = period
  }
}
