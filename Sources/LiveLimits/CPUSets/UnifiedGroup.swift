// SPDX-License-Identifier: Apache-2.0

/// A group of cgroup v2 that has the cpuset controller.
///
/// One without follows the nearest above it that has, and is no business of a fence
/// (Documentation/admin-guide/cgroup-v2.rst, "Cpuset").
struct UnifiedGroup: Equatable, Sendable {
  /// What cpuset.cpus.partition says.
  enum Partition: Sendable {
    /// A group like any other; so is every one where the kernel has no such file.
    case member
    /// Nobody else has its exclusive CPUs; "isolated" is the same to a fence.
    case root
    /// It should be one, and others run there.
    case invalid

    /// Reads the file: "member", "root", "root invalid (Cpu list in cpuset.cpus not exclusive)".
    init(_ text: String) {
      let words = text.split(at: "\n").first?.split(at: " ") ?? []
      self = words.first ?? "member" == "member" ? .member : words.count > 1 ? .invalid : .root
    }
  }

  /// From the root of the hierarchy, which is "/".
  var path: String
  /// The inode of its directory: the same path may be another group one day.
  var inode: UInt64
  /// cpuset.cpus as it was written, which is empty for a group that follows the one above; of the
  /// root all CPUs that are online.
  var cpus: CPUSet
  /// cpuset.cpus.exclusive; nil where the kernel has no such file (before 6.7), and for the root.
  var exclusive: CPUSet?
  /// What kind of partition it is.
  var partition = Partition.member
  /// Whether a process is in it or below it: then the kernel takes no empty cpuset.cpus any more
  /// (ENOSPC, validate_change of kernel/cgroup/cpuset.c).
  var isPopulated = true
}

/// One write to a group of cgroup v2.
struct UnifiedWrite: Equatable, Sendable {
  /// What is written.
  enum Value: Equatable, Sendable {
    /// cpuset.cpus.
    case cpus(CPUSet)
    /// cpuset.cpus.exclusive.
    case exclusive(CPUSet)
    /// cpuset.cpus.partition: "root", which has to be read back, or "member".
    case partition(isRoot: Bool)
  }

  var path: String
  var value: Value
}

/// What is to be written on cgroup v2, and what is to be remembered of it.
struct UnifiedPlan: Equatable, Sendable {
  /// In this order.
  var writes: [UnifiedWrite]
  /// Whose cpuset.cpus is not what they declare.
  var neighbours: [Neighbour]
  /// Which exclusive CPUs are there for the sake of strict containers, by inode.
  var lent: [UInt64: CPUSet]
}
