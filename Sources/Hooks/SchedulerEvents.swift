// SPDX-License-Identifier: Apache-2.0
internal import CBPF
internal import Glibc
package import Quantities
package import Syscalls

/// What the hooks saw of one container.
package struct SchedulerEvent: Equatable, Sendable {
  /// What happened.
  package enum Kind: Equatable, Sendable {
    /// What is left of the period's CPU time fell below a margin.
    case runningOut
    /// The container was throttled.
    case throttled
    /// A group above it was, and it with that one: its own limit has nothing to do with it.
    case ancestorThrottled
    /// Its use of memory came near its memory.high, or half as near again; both in bytes.
    case nearLine(used: Int64, line: Int64)
  }

  /// What happened.
  package let kind: Kind
  /// CPU time that the CPU on which it was seen may still get, in nanoseconds; where it is memory that
  /// was seen this and all below is 0.
  ///
  /// What is left of its slice and what no CPU has taken yet; negative when it was overrun.
  package let left: Nanoseconds
  /// The quota in force at that moment, in nanoseconds a period.
  package let quota: Nanoseconds
  /// When the kernel refills it, on CLOCK_MONOTONIC (``monotonicNow()``); in the past when no
  /// period is running.
  package let periodEnd: Nanoseconds

  init?(_ event: escra_hook_event) {
    switch escra_hook_kind(event.kind) {
    case ESCRA_RUNNING_OUT: kind = .runningOut
    case ESCRA_THROTTLED: kind = .throttled
    case ESCRA_ANCESTOR_THROTTLED: kind = .ancestorThrottled
    case ESCRA_NEAR_LINE:
      let page = Int64(sysconf(Int32(_SC_PAGESIZE)))
      kind = .nearLine(
        used: Int64(clamping: event.used) &* page, line: Int64(clamping: event.line) &* page)
      (left, quota, periodEnd) = (0, 0, 0)
      return
    default: return nil
    }
    left = event.left
    quota = Int64(bitPattern: event.quota)
    periodEnd = Int64(bitPattern: event.period_end)
  }
}

/// The ring that a container's events come in: BPF_MAP_TYPE_RINGBUF.
///
/// Mapped from the first event on and until ``rest()``: while a container is quiet no supervisor
/// pays for three pages.
package final class SchedulerEvents {
  /// The ring, for a poller.
  package let descriptor: FileDescriptor
  private var mapped = escra_ring()

  /// Takes a ring over that ``SchedulerHooks/watch(_:outer:_:owner:)`` has made, here or in another
  /// image.
  package init(adopting ring: consuming FileDescriptor) { descriptor = ring }

  deinit { rest() }

  /// Gives the memory back until the next event.
  package func rest() { if mapped.consumer != nil { escra_ring_unmap(&mapped) } }

  /// Takes the oldest event; nil when there is none.
  ///
  /// - Throws: ``SystemError``: ENOMEM where the ring cannot be mapped. It stays readable then.
  package func take() throws(SystemError) -> SchedulerEvent? {
    if mapped.consumer == nil {
      try retrying("map", "a ring") { escra_ring_map(descriptor.number, &mapped) }
    }
    var event = escra_hook_event()
    while escra_ring_take(&mapped, &event) {
      if let event = SchedulerEvent(event) { return event }
    }
    return nil
  }
}
