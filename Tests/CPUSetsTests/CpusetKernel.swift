// SPDX-License-Identifier: Apache-2.0
import TestValues

@testable import CPUSets
@testable import Quantities

/// The cpuset hierarchy as cgroup v1 keeps it: no child has a CPU that its parent does not have, and
/// no process is in a group without CPUs (validate_change of kernel/cgroup/cpuset.c).
struct CpusetKernel {
  final class Group {
    let inode: UInt64
    let name: String
    let path: String
    var cpus = CPUSet()
    var hasProcesses = false
    private(set) weak var parent: Group?
    private(set) var children: [Group] = []

    init(_ name: String, inode: UInt64, in parent: Group?) {
      self.name = name
      path = parent.map { $0.parent == nil ? "/\(name)" : "\($0.path)/\(name)" } ?? "/"
      self.inode = inode
      self.parent = parent
      parent?.children.append(self)
    }

    /// The groups it is in, without the root.
    var ancestors: [Group] {
      guard let parent, parent.parent != nil else { return [] }
      return [parent] + parent.ancestors
    }
    /// The group, and everything below it.
    var all: [Group] { [self] + children.flatMap(\.all) }

    func remove() { parent?.children.removeAll { $0 === self } }

    /// Whether the kernel would take the set.
    func takes(_ cpus: CPUSet) -> Bool {
      (!cpus.isEmpty || !hasProcesses) && cpus.isSubset(of: parent?.cpus ?? "")
        && children.allSatisfy { $0.cpus.isSubset(of: cpus) }
    }

    func write(_ cpus: CPUSet) -> Bool {
      guard takes(cpus) else { return false }
      self.cpus = cpus
      return true
    }
  }

  let root: Group
  private var lastInode: UInt64 = 1

  init(cpus: CPUSet) {
    root = Group("", inode: 1, in: nil)
    root.cpus = cpus
  }

  /// Makes a group; one without a name gets one of its own.
  mutating func make(_ name: String? = nil, in parent: Group) -> Group {
    lastInode += 1
    return Group(name ?? "g\(lastInode)", inode: lastInode, in: parent)
  }

  var snapshot: [CpusetGroup] {
    root.all.map {
      CpusetGroup(path: $0.path, inode: $0.inode, cpus: $0.cpus, hasProcesses: $0.hasProcesses)
    }
  }

  subscript(path: String) -> Group? { root.all.first { $0.path == path } }

  /// Carries the writes out as far as the kernel takes them.
  ///
  /// - Returns: The first that is refused.
  func carryOut(_ writes: [FenceWrite]) -> FenceWrite? {
    writes.first { write in self[write.path].map { !$0.write(write.cpus) } ?? true }
  }
}
