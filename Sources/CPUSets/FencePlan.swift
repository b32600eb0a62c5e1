// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// A group of the cpuset hierarchy of cgroup v1.
package struct CpusetGroup: Sendable {
  /// From the root of the hierarchy, which is "/": "/docker/abc".
  package var path: String
  /// The inode of its directory: the same path may be another group one day.
  package var inode: UInt64
  /// cpuset.cpus; of the root all that are online, of a group just made none.
  package var cpus: CPUSet
  /// Whether a process is in the group itself.
  package var hasProcesses: Bool

  /// Makes one from its parts.
  package init(path: String, inode: UInt64, cpus: CPUSet, hasProcesses: Bool) {
    self.path = path
    self.inode = inode
    self.cpus = cpus
    self.hasProcesses = hasProcesses
  }

  /// The path of the group it is in.
  package var parent: String { path.parentGroup }

  /// Whether a group of that path is in it, or in one of the groups in it.
  func isAbove(_ other: String) -> Bool { other.isGroup(below: path) }
}

extension String {
  /// The path of the group that the group of this path is in.
  package var parentGroup: String {
    var rest = utf8.dropLast(1)
    while let last = rest.last, last != UInt8(ascii: "/") { rest = rest.dropLast() }
    return rest.count > 1 ? String(Substring(rest.dropLast())) : "/"
  }

  /// Whether a group of this path is in one of that path, or in one of the groups in it.
  package func isGroup(below path: String) -> Bool {
    guard utf8.starts(with: path.utf8) else { return false }
    let rest = utf8.dropFirst(path.utf8.count)
    return !rest.isEmpty && (path == "/" || rest.first == UInt8(ascii: "/"))
  }
}

/// What is remembered of a group that was written for the sake of strict containers.
package struct Neighbour: Equatable, Sendable {
  /// The inode of the group.
  package var inode: UInt64
  /// What it wants.
  package var declared: CPUSet
  /// What was written last.
  package var applied: CPUSet

  /// Makes one from its parts.
  package init(inode: UInt64, declared: CPUSet, applied: CPUSet) {
    self.inode = inode
    self.declared = declared
    self.applied = applied
  }
}

/// A strict container, as the fence knows it.
package struct StrictOwner: Sendable {
  /// What it holds.
  package var cpus: CPUSet
  /// Its group: where it is expected, then where it is.
  package var path: String
  /// The inode of its group, once that has been found.
  package var inode: UInt64?

  /// Makes one from its parts.
  package init(cpus: CPUSet, path: String, inode: UInt64? = nil) {
    self.cpus = cpus
    self.path = path
    self.inode = inode
  }

  /// Whether a group is its own.
  package func has(_ group: CpusetGroup) -> Bool { has(path: group.path, inode: group.inode) }

  /// Whether the group of that path and inode is its own.
  package func has(path: String, inode: UInt64) -> Bool {
    self.path == path && (self.inode == nil || self.inode == inode)
  }
}

/// A set for a group.
package struct FenceWrite: Equatable, Sendable {
  /// The group, from the root of the cpuset hierarchy.
  package var path: String
  package var cpus: CPUSet

  /// Makes one from its parts.
  package init(path: String, cpus: CPUSet) {
    self.path = path
    self.cpus = cpus
  }
}

/// What is to be written, and what is to be remembered of it.
package struct FencePlan: Equatable, Sendable {
  /// In this order.
  package var writes: [FenceWrite]
  /// Empty once all groups have what they declare.
  package var neighbours: [Neighbour]

  /// Makes one from its parts.
  package init(writes: [FenceWrite], neighbours: [Neighbour]) {
    self.writes = writes
    self.neighbours = neighbours
  }
}
