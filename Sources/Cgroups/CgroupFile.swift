// SPDX-License-Identifier: Apache-2.0
package import Quantities
package import Syscalls

/// A file of a cgroup, by what it has: cgroup v1 and v2 call the same thing by different names.
///
/// What one of them does not have, it has no name for.
package enum CgroupFile: Sendable {
  /// The processes of the group.
  case processes
  /// Whether a process is in the group or below it, and whether it is frozen.
  case events
  /// The controllers that the group has.
  case controllers
  /// The CPU limit; on v1 the quota of each period.
  case cpuQuota
  /// The period of the quota, where that is a file of its own.
  case cpuPeriod
  /// Periods, throttles and on v2 the use.
  case cpuStatistics
  /// CPU time used, where that is a file of its own.
  case cpuUsage
  /// The memory limit.
  case memoryLimit
  /// The limit above which the kernel slows the group down.
  case memoryHigh
  /// The limit of memory and swap together.
  case memoryAndSwapLimit
  /// All that is charged to the group.
  case memoryUsage
  /// The most that was charged to the group so far.
  case memoryPeak
  /// What the memory of the group consists of.
  case memoryStatistics
  /// How many processes were killed because memory ran out.
  case memoryKills
  /// The CPUs of the group.
  case cpus
  /// The CPUs that its tasks may run on.
  case effectiveCPUs
  /// The memory nodes that its tasks may use.
  case effectiveNodes
  /// Whether the group is frozen, where that is a file of its own.
  case freezerState
  /// How many tasks are in the group and below it.
  case taskCount
  /// For how long tasks waited for a CPU, in the unified hierarchy.
  case cpuPressure
  /// Whether the group is a partition.
  case partition
  /// The CPUs of isolated partitions, in the root alone.
  case isolatedCPUs

  /// What it is called.
  ///
  /// - Parameter version: The interface.
  /// - Returns: nil if that has no such file.
  package func name(_ version: CgroupVersion) -> String? {
    switch version {
    case .v1: nameV1
    case .v2: nameV2
    }
  }

  /// Reads the one of a group; nil if it is gone, cannot be read, or this version has no such file.
  ///
  /// - Parameters:
  ///   - directory: The directory of the group.
  ///   - version: The interface.
  /// - Returns: Its text.
  package func text(of directory: String, _ version: CgroupVersion) -> String? {
    name(version).flatMap { FileDescriptor.textIfReadable(of: directory + "/" + $0) }
  }
}

extension FileDescriptor {
  /// Opens a file of the cgroup whose directory this is.
  ///
  /// - Throws: ``SystemError``: ENOENT also if this version has no such file.
  package func open(
    _ file: CgroupFile, _ version: CgroupVersion, _ flags: Int32
  ) throws(SystemError) -> FileDescriptor {
    guard let name = file.name(version) else { throw CgroupFile.missing }
    return try open(name, flags)
  }

  /// Opens a file of the cgroup in a directory.
  ///
  /// - Throws: ``SystemError``: ENOENT also if this version has no such file.
  package static func open(
    _ file: CgroupFile, of directory: String, _ version: CgroupVersion, _ flags: Int32
  ) throws(SystemError) -> FileDescriptor {
    guard let name = file.name(version) else { throw CgroupFile.missing }
    return try open(directory + "/" + name, flags)
  }
}

extension FileDescriptor {
  /// Opens a file of the cgroup whose directory this is, if it is there and may be opened.
  package func openIfPossible(
    _ file: CgroupFile, _ version: CgroupVersion, _ flags: Int32
  ) -> FileDescriptor? {
    file.name(version).flatMap { openIfPossible($0, flags) }
  }

  /// Opens a file of the cgroup in a directory, if it is there and may be opened.
  package static func openIfPossible(
    _ file: CgroupFile, of directory: String, _ version: CgroupVersion, _ flags: Int32
  ) -> FileDescriptor? {
    file.name(version).flatMap { openIfPossible(directory + "/" + $0, flags) }
  }
}

extension CgroupFile {
  fileprivate static var missing: SystemError {
    SystemError("open", "a file that this version of cgroups does not have", errno: 2)
  }
}
