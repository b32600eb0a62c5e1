// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
package import Syscalls

/// Files of a container's groups that a supervisor reads, each where this machine has it.
extension CgroupLocation {
  /// Opens the file that ``GroupMembers`` reads; nil if there is none.
  package func openMembers() -> FileDescriptor? {
    if version.reportsLastProcess {
      return FileDescriptor.openIfPossible(.events, of: cpu, version, O_RDONLY)
    }
    return pids.flatMap { FileDescriptor.openIfPossible(.taskCount, of: $0, version, O_RDONLY) }
  }

  /// Opens the file that says whether the container is frozen.
  ///
  /// A group whose children are frozen is not: crun freezes the group that it makes in a scope.
  ///
  /// - Parameter inner: The container's own group, if this one is around it.
  /// - Returns: nil if there is none.
  package func openFreezer(_ inner: String?) -> FileDescriptor? {
    if let freezer {
      return FileDescriptor.openIfPossible(.freezerState, of: freezer, .v1, O_RDONLY)
    }
    if let below = Self.below(inner),
      let file = FileDescriptor.openIfPossible(.events, of: below, .v2, O_RDONLY)
    {
      return file
    }
    return FileDescriptor.openIfPossible(.events, of: inner ?? cpu, .v2, O_RDONLY)
  }

  /// Opens what tells how long the container's own tasks waited for a CPU.
  ///
  /// Its pressure; on cgroup v1 its group's run-queue wait, where the kernel counts it
  /// (kernel.sched_schedstats). The host's pressure says nothing of the container.
  ///
  /// - Parameter tells: Whether a text does.
  /// - Returns: nil where neither does.
  package func openWait(_ tells: (String) -> Bool) -> FileDescriptor? {
    if let unified,
      let file = FileDescriptor.openIfPossible(.cpuPressure, of: unified, .v2, O_RDONLY),
      let text = file.contentsIfReadable(), tells(text)
    {
      return file
    }
    if version == .v1,
      let file = FileDescriptor.openIfPossible(.cpuStatistics, of: cpu, version, O_RDONLY),
      let text = file.contentsIfReadable(), tells(text)
    {
      return file
    }
    return nil
  }
}
