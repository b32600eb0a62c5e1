// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import Quantities
package import Syscalls

/// Wakes the supervisor when an idle container starts to use CPU, and costs nothing until then.
///
/// One perf event a CPU counts the CPU time of the container's tasks there
/// (PERF_COUNT_SW_CPU_CLOCK with PERF_FLAG_PID_CGROUP, perf_event_open(2)). The kernel runs its
/// timer only while such a task is on the CPU, so nothing fires while nothing runs; armed by
/// PERF_EVENT_IOC_REFRESH an event fires once and disables itself, so nothing fires while the
/// supervisor is awake and sampling.
package final class IdleWakeup {
  private var events: [Int32]
  /// Readable when the container has used CPU: a signalfd(2) of the events' queued signal.
  package private(set) var descriptor: FileDescriptor

  /// Opens one event a CPU, disarmed; calls come to the thread that opens them.
  ///
  /// - Parameters:
  ///   - cgroup: The container's directory in the hierarchy that perf_event is on: the unified
  ///     one (where it is always enabled), or v1's perf_event mount.
  ///   - cpus: How many CPUs the machine has online.
  ///   - after: CPU time on one CPU until it fires, in nanoseconds.
  /// - Throws: ``SystemError``: EACCES without CAP_PERFMON, EINVAL where cgroup mode is refused.
  package init(
    cgroup: borrowing FileDescriptor, cpus: [Int32], after: Nanoseconds
  ) throws(SystemError) {
    let signal = escra_sigrtmin() + 1
    var mask = sigset_t()
    sigemptyset(&mask)
    sigaddset(&mask, signal)
    pthread_sigmask(SIG_BLOCK, &mask, nil)
    let descriptor = FileDescriptor(
      owning: try retrying("make", "a signal descriptor") {
        signalfd(-1, &mask, CInt(SFD_CLOEXEC | SFD_NONBLOCK))
      })
    var events: [Int32] = []
    for cpu in cpus {
      let event = escra_perf_cgroup_clock(cgroup.number, cpu, UInt64(after), signal)
      guard event >= 0 else {
        let failure = SystemError.last("open", "a CPU clock of the container")
        for event in events { close(event) }
        throw failure
      }
      events.append(event)
    }
    self.descriptor = descriptor
    self.events = events
  }

  /// Takes over what another image of this process has opened; its signal is blocked here too.
  ///
  /// - Parameters:
  ///   - descriptor: The signal descriptor.
  ///   - events: The perf events, one a CPU.
  package init(adopting descriptor: consuming FileDescriptor, events: [Int32]) {
    self.descriptor = descriptor
    self.events = events
  }

  /// Gives everything away that it has open, the signal descriptor first: for another image.
  package func release() -> [Int32] {
    let descriptors = [descriptor.number] + events
    events = []
    let empty = FileDescriptor.none
    _ = exchange(&descriptor, with: empty).release()
    return descriptors
  }

  deinit { for event in events { close(event) } }

  /// Asks for one call, on the next use on any CPU.
  package func arm() {
    for event in events { _ = escra_perf_arm(event) }
  }

  /// Takes note of the calls that came, however many.
  package func acknowledge() {
    // At most one signal a CPU: an event disables itself when it fires.
    withUnsafeTemporaryAllocation(byteCount: 8 * 128, alignment: 8) { buffer in
      while Glibc.read(descriptor.number, buffer.baseAddress, buffer.count) > 0 {}
    }
  }
}
