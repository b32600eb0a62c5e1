// SPDX-License-Identifier: Apache-2.0
package import Cgroups
package import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// What became of a decision: what a group has, in bytes, after the decision was carried out.
package struct MemoryChange: Equatable, Sendable {
  /// Whether it is as it was decided.
  package var isTaken: Bool
  /// The limit in force.
  package var limit: Int64
  /// Where cgroup v2 slows down; from ``MemoryLimit/unlimited`` on nowhere.
  package var line: Int64

  /// What a group may have grown by since it was read, for its limit to be lowered: 2 MiB.
  ///
  /// Three quarters of the least head are left then until it is looked at again. A container
  /// that grows at full speed takes so much in 0.8 ms: so long a supervisor did not run.
  static let mostGrowth: Int64 = 2 << 20
}

extension MemoryWriter {
  /// Makes a group's limit what a controller has decided, and has the controller know where that
  /// was not to be.
  ///
  /// The one way from a decision to the kernel. Only a container that has not grown since is
  /// lowered: the kernel of cgroup v1 takes any limit that the use fits below at that moment, and
  /// kills in the next one. What is refused leaves the limit that there was, or whatever the kernel
  /// has by then.
  ///
  /// - Parameters:
  ///   - decision: What it shall be.
  ///   - controller: What has decided.
  ///   - before: The limit that was in force, in bytes.
  ///   - swap: Bytes of memory and swap together; nil to leave that limit alone.
  ///   - surroundings: Say what of it is page cache at this moment.
  ///   - use: Says what is charged at this moment, in bytes; nil if that cannot be read.
  /// - Returns: What there is now.
  package func carryOut(
    _ decision: MemoryController.Decision, of controller: inout MemoryController,
    from before: Int64, swap: Int64?, surroundings: some MemoryController.Environment,
    use: () -> Int64?
  ) -> MemoryChange {
    let line = controller.line ?? MemoryLimit.unlimited
    func charged() throws(SystemError) -> Int64 {
      guard let bytes = use() else { throw SystemError("read", "the memory usage", errno: EIO) }
      return bytes
    }
    do throws(SystemError) {
      if decision.limit < before {
        // In this order: cache that comes in between looks like growth, and growth like growth.
        let inactive = surroundings.inactiveFile()
        let now = MemoryReading(usage: try charged(), inactiveFile: inactive).workingSet
        if now - decision.use > MemoryChange.mostGrowth {
          throw SystemError("lower", "the memory limit", errno: EBUSY)
        }
      }
      try set(decision.limit, line: controller.line, swap: swap, use: charged)
      // Not to be read: the group is gone, and what was written last is as good as anything.
      return MemoryChange(
        isTaken: true, limit: (try? current()) ?? decision.limit, line: line)
    } catch {
      // As above.
      let now = (limit: (try? current()) ?? before, line: (try? self.line()) ?? line)
      controller.refuse(found: now.limit, wasLowering: decision.limit < before)
      return MemoryChange(isTaken: false, limit: now.limit, line: now.line)
    }
  }
}
