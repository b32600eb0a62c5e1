// SPDX-License-Identifier: Apache-2.0

/// The two limits of cgroup v2: memory.high, the line, and memory.max some room above it.
///
/// Who is above the line sleeps the longer the further (mm/memcontrol.c,
/// mem_cgroup_handle_over_high): up to 1.1 % above not at all, and from 17.7 % on two seconds for
/// each 256 KiB and thread. At memory.max there is only the kill. So the room is what holds who
/// grows until a supervisor comes by, also one that has to be started first, and it is no room
/// when it is small.
package enum MemoryHigh {
  /// The least room: 16 MiB.
  package static let leastRoom: Int64 = 16 << 20
  /// The part of the line that the room is at the least: a fifth.
  package static let part: Int64 = 5
  /// The room that a line may come down to where no more is to be had, in hundredths of the line;
  /// with less there is no line.
  package static let tightest: Int64 = 6

  /// The least limit that has all of its room above a line, in bytes.
  package static func limit(over line: Int64) -> Int64 {
    let (sum, isTooMuch) = line.addingReportingOverflow(max(leastRoom, line / part))
    return isTooMuch ? .max : roundedUp(sum)
  }

  /// The highest line that has all of its room below a limit, in bytes.
  package static func line(under limit: Int64) -> Int64 {
    let byPart = limit / (part + 1) * part + limit % (part + 1) * part / (part + 1)
    return roundedUp(max(0, min(limit - leastRoom, byPart)))
  }

  /// The highest line that there may be at all below a limit, in bytes.
  package static func highestLine(under limit: Int64) -> Int64 {
    limit / (100 + tightest) * 100 & ~(page - 1)
  }

  private static let page: Int64 = 4096

  /// Whole pages, as the kernel counts.
  static func roundedUp(_ bytes: Int64) -> Int64 {
    bytes > .max - page ? bytes : (bytes + page - 1) & ~(page - 1)
  }
}
