// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import Syscalls

/// Where it is heard from that a container's memory limit has to move, as its state says it.
package enum MemorySource: String, Sendable {
  /// The program where memory is charged tells that the use comes near to cgroup v2's line.
  case hook = "bpf"
  /// The kernel tells that the line was crossed, and while the container grows its use is read.
  case events = "events, sampling"
  /// cgroup v1's thresholds.
  case thresholds

  /// The best that there is.
  ///
  /// - Parameters:
  ///   - version: Which interface the limit has.
  ///   - nets: The hooks that there are; nil for none.
  /// - Returns: Where it is heard from.
  static func of(_ version: CgroupVersion, _ nets: HookIDs.Nets?) -> MemorySource {
    if !version.hasMemoryHigh { return .thresholds }
    return nets?.contains(.memory) == true ? .hook : .events
  }
}
