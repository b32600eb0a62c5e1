// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import Quantities

/// One moment in the future as a descriptor: timerfd_create(2).
package struct DeadlineTimer: ~Copyable {
  /// Readable once the deadline has passed.
  package let descriptor: FileDescriptor
  private var armed: Nanoseconds?
  /// It has fired, and was not set since.
  private var hasFired = false

  /// Makes a timer of CLOCK_MONOTONIC that never fires.
  package init() throws(SystemError) { try self.init(clock: CLOCK_MONOTONIC) }

  /// Makes a timer of CLOCK_BOOTTIME, which counts the time that the machine is suspended.
  package static func ofBootTime() throws(SystemError) -> DeadlineTimer {
    try DeadlineTimer(clock: CLOCK_BOOTTIME)
  }

  private init(clock: clockid_t) throws(SystemError) {
    descriptor = FileDescriptor(
      owning: try retrying("make", "a timer") {
        timerfd_create(clock, CInt(TFD_CLOEXEC | TFD_NONBLOCK))
      })
  }

  /// Sets the one deadline, or none; says nothing to the kernel when it stays the same.
  package mutating func set(_ deadline: Nanoseconds?) throws(SystemError) {
    guard deadline != armed || hasFired else { return }
    armed = deadline
    hasFired = false
    var spec = itimerspec()
    if let deadline {
      // Zero would disarm; a moment that has passed fires at once.
      let moment = max(deadline, 1)
      spec.it_value.tv_sec = time_t(moment / 1_000_000_000)
      spec.it_value.tv_nsec = Int(moment % 1_000_000_000)
    }
    try retrying("set", "a timer") {
      timerfd_settime(descriptor.number, CInt(TFD_TIMER_ABSTIME), &spec, nil)
    }
  }

  /// Takes note that it fired: the descriptor is quiet again from the next ``set(_:)`` on, for
  /// timerfd_settime(2) forgets what has expired before.
  package mutating func acknowledge() { hasFired = true }
}
