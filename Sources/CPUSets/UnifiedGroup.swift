// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// A group of cgroup v2 that has the cpuset controller.
///
/// One without follows the nearest above it that has, and is no business of a fence
/// (Documentation/admin-guide/cgroup-v2.rst, "Cpuset").
package struct UnifiedGroup: Equatable, Sendable {
  /// From the root of the hierarchy, which is "/".
  package var path: String
  /// The inode of its directory: the same path may be another group one day.
  package var inode: UInt64
  /// cpuset.cpus as it was written, which is empty for a group that follows the one above; of the
  /// root all CPUs that are online.
  package var cpus: CPUSet
  /// cpuset.cpus.exclusive; nil where the kernel has no such file (before 6.7), and for the root.
  package var exclusive: CPUSet?
  /// What kind of partition it is.
  package var partition = CpusetPartition.member
  /// Whether a process is in it or below it: then the kernel takes no empty cpuset.cpus any more
  /// (ENOSPC, validate_change of kernel/cgroup/cpuset.c).
  package var isPopulated = true

  /// Makes one from its parts.
  package init(
    path: String, inode: UInt64, cpus: CPUSet, exclusive: CPUSet? = nil,
    partition: CpusetPartition = CpusetPartition.member, isPopulated: Bool = true
  ) {
    self.path = path
    self.inode = inode
    self.cpus = cpus
    self.exclusive = exclusive
    self.partition = partition
    self.isPopulated = isPopulated
  }
}

/// One write to a group of cgroup v2.
package struct UnifiedWrite: Equatable, Sendable {
  /// What is written.
  package enum Value: Equatable, Sendable {
    /// cpuset.cpus.
    case cpus(CPUSet)
    /// cpuset.cpus.exclusive.
    case exclusive(CPUSet)
    /// cpuset.cpus.partition: "root", which has to be read back, or "member".
    case partition(isRoot: Bool)
  }

  /// The group, from the root of the hierarchy.
  package var path: String
  package var value: Value

  /// Makes one from its parts.
  package init(path: String, value: Value) {
    self.path = path
    self.value = value
  }
}

/// What is to be written on cgroup v2, and what is to be remembered of it.
package struct UnifiedPlan: Equatable, Sendable {
  /// In this order.
  package var writes: [UnifiedWrite]
  /// Whose cpuset.cpus is not what they declare.
  package var neighbours: [Neighbour]
  /// Which exclusive CPUs are there for the sake of strict containers, by inode.
  package var lent: [UInt64: CPUSet]

  /// Makes one from its parts.
  package init(writes: [UnifiedWrite], neighbours: [Neighbour], lent: [UInt64: CPUSet]) {
    self.writes = writes
    self.neighbours = neighbours
    self.lent = lent
  }
}
