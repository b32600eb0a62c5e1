// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

extension CgroupLocation {
  /// The least CPU limit that the directories above the container have, in nanocores; nil where
  /// none has any.
  ///
  /// v1 refuses a child above it, and on v2 the rest would be of no use (kernel/sched/core.c,
  /// tg_cfs_schedulable_down).
  ///
  /// - Parameters:
  ///   - name: What the container's own group is called, which may be around ``cpu``.
  ///   - parent: A directory that is left out: its limit rises with the container's.
  /// - Returns: The limit.
  package func ancestorLimit(of name: String? = nil, besides parent: String? = nil) -> Int64? {
    let own = Self.scope(around: cpu, named: name) ?? cpu
    let above = ancestors.filter { $0.utf8.count < own.utf8.count && $0 != parent }
    return above.compactMap { cpuLimit(of: $0) }.min()
  }

  /// The CPU limit of one directory in nanocores; nil for none.
  package func cpuLimit(of path: String) -> Int64? {
    guard let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      // A group that is gone has no limit.
      let reader = try? CgroupWriter(directory: directory, version: version, readOnly: true),
      let limit = try? reader.current()
    else { return nil }
    return limit.nanocores
  }

  /// The memory limit of one directory in bytes; nil for none.
  package func memoryLimit(of path: String) -> Int64? {
    CgroupFile.memoryLimit.text(of: path, version).flatMap { MemoryWriter.limit($0) }
      .flatMap { $0 < MemoryLimit.unlimited ? $0 : nil }
  }

  /// The least memory limit above a directory in bytes: where the kernel kills, whatever the limits
  /// below it; nil for none.
  package func memoryLimit(above path: String) -> Int64? {
    guard version == .v1 else {
      return ancestors.filter { $0.utf8.count < path.utf8.count }.compactMap { memoryLimit(of: $0) }
        .min()
    }
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return nil }
    return FileDescriptor.textIfReadable(of: String(path[..<slash]) + "/memory.stat").flatMap {
      MemoryMeter.hierarchicalLimit(inStatistics: $0)
    }.flatMap { $0 < MemoryLimit.unlimited ? $0 : nil }
  }

  /// The same for a cgroup that is yet to be made.
  ///
  /// - Parameter path: config.json's `cgroupsPath`, as a path from the hierarchy's root.
  /// - Returns: nanocores; nil where nothing above has a limit, or what is above is not known.
  package static func ancestorLimit(above path: String) -> Int64? {
    guard path.utf8.first == UInt8(ascii: "/"),
      let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo")
    else { return nil }
    return CgroupLocation(group: path, mounts: mounts)?.ancestorLimit()
  }
}
