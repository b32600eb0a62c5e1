// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities

/// The machine's CLOCK_MONOTONIC: clock_gettime(2), through the vDSO.
package func monotonicNow() -> Nanoseconds {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// The machine's CLOCK_BOOTTIME, which goes on while the machine sleeps.
package func boottimeNow() -> Nanoseconds {
  var time = timespec()
  clock_gettime(CLOCK_BOOTTIME, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Seconds and nanoseconds of the wall clock, for records that people read.
package func wallClockNow() -> Nanoseconds {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// A time of the wall clock as RFC 3339 in UTC, to the second: "2026-11-21T08:00:00Z".
package func rfc3339(_ wallClock: Nanoseconds) -> String {
  var seconds = time_t(wallClock / 1_000_000_000)
  var parts = tm()
  gmtime_r(&seconds, &parts)
  func two(_ value: CInt) -> String { value < 10 ? "0\(value)" : "\(value)" }
  return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
    + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
}
