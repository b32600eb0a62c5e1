// SPDX-License-Identifier: Apache-2.0

/// The uses of memory at which the kernel calls, in bytes, from the least to the greatest.
///
/// Registering a usage threshold of cgroup v1 waits for an RCU grace period, 8 ms at HZ=250
/// (mm/memcontrol-v1.c, __mem_cgroup_usage_register_event): a threshold that moved with the limit
/// would come too late for a container that grows. So there is a fixed ladder of them, registered
/// once, and limits are set a head above a rung.
package struct UsageThresholds: Equatable, Sendable {
  /// The rungs, in bytes.
  package let rungs: [Int64]

  /// The least distance between two rungs: 8 MiB.
  ///
  /// The kernel looks at thresholds after each 128 pages that a CPU has charged, half a mebibyte.
  package static let leastSpacing: Int64 = 8 << 20
  /// From 256 MiB on, rungs are this part of themselves apart: a thirty-second.
  package static let part: Int64 = 32

  /// Makes a ladder.
  ///
  /// - Parameter limit: No rung is above it: what nothing may exceed.
  package init(to limit: Int64) {
    var rungs: [Int64] = []
    var rung = Self.leastSpacing
    while rung < limit {
      rungs.append(rung)
      rung += Self.spacing(at: rung)
    }
    self.rungs = rungs
  }

  /// The first rung above a use; one that there would be where the ladder has ended.
  package func rung(above use: Int64) -> Int64 {
    var low = 0
    var high = rungs.count
    while low < high {
      let middle = (low + high) / 2
      if rungs[middle] > use { high = middle } else { low = middle + 1 }
    }
    if low < rungs.count { return rungs[low] }
    let (above, isTooMuch) = use.addingReportingOverflow(Self.spacing(at: use))
    return isTooMuch ? .max : above
  }

  /// From a rung to the next one.
  package static func spacing(at rung: Int64) -> Int64 {
    max(leastSpacing, (rung / part) & ~0xf_ffff)
  }
}
