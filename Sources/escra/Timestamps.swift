// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

/// A time of the wall clock for people: the date only where it is not today's.
///
/// - Parameters:
///   - time: Nanoseconds of CLOCK_REALTIME.
///   - now: What counts as today.
///   - offset: Seconds that local time is ahead of UTC.
///   - places: Decimals of the seconds.
/// - Returns: "14:03:07.120", or "2026-11-20 14:03:07.120".
func timestamp(
  _ time: Nanoseconds, now: Nanoseconds, offset: Int64, places: Int = 3
) -> String {
  let local = time + offset * 1_000_000_000
  let text = rfc3339(local)
  let date = text.prefix(10)
  var fraction = ""
  if places > 0 {
    let digits = padded(local % 1_000_000_000, 9)
    fraction = "." + digits.prefix(places)
  }
  let clock = String(text.dropFirst(11).prefix(8)) + fraction
  return rfc3339(now + offset * 1_000_000_000).prefix(10) == date ? clock : date + " " + clock
}

/// Seconds that local time is ahead of UTC at a moment: localtime_r(3).
func localOffset(at time: Nanoseconds) -> Int64 {
  var seconds = time_t(time / 1_000_000_000)
  var parts = tm()
  return localtime_r(&seconds, &parts) == nil ? 0 : Int64(parts.tm_gmtoff)
}
