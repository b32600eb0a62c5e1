// SPDX-License-Identifier: Apache-2.0

/// A group of the cpuset hierarchy of cgroup v1.
struct CpusetGroup: Sendable {
  /// From the root of the hierarchy, which is "/": "/docker/abc".
  var path: String
  /// The inode of its directory: the same path may be another group one day.
  var inode: UInt64
  /// cpuset.cpus; of the root all that are online, of a group just made none.
  var cpus: CPUSet
  /// Whether a process is in the group itself.
  var hasProcesses: Bool

  /// The path of the group it is in.
  var parent: String { path.parentGroup }

  /// Whether a group of that path is in it, or in one of the groups in it.
  func isAbove(_ other: String) -> Bool { other.isGroup(below: path) }
}

extension String {
  /// The path of the group that the group of this path is in.
  var parentGroup: String {
    var rest = utf8.dropLast(1)
    while let last = rest.last, last != UInt8(ascii: "/") { rest = rest.dropLast() }
    return rest.count > 1 ? String(Substring(rest.dropLast())) : "/"
  }

  /// Whether a group of this path is in one of that path, or in one of the groups in it.
  func isGroup(below path: String) -> Bool {
    guard utf8.starts(with: path.utf8) else { return false }
    let rest = utf8.dropFirst(path.utf8.count)
    return !rest.isEmpty && (path == "/" || rest.first == UInt8(ascii: "/"))
  }
}

/// What is remembered of a group that was written for the sake of strict containers.
struct Neighbour: Equatable, Sendable {
  var inode: UInt64
  /// What it wants.
  var declared: CPUSet
  /// What was written last.
  var applied: CPUSet
}

/// A strict container, as the fence knows it.
struct Holder: Sendable {
  /// What it holds.
  var cpus: CPUSet
  /// Its group: where it is expected, then where it is.
  var path: String
  /// The inode of its group, once that has been found.
  var inode: UInt64?

  /// Whether a group is its own.
  func has(_ group: CpusetGroup) -> Bool { has(path: group.path, inode: group.inode) }

  /// Whether the group of that path and inode is its own.
  func has(path: String, inode: UInt64) -> Bool {
    self.path == path && (self.inode == nil || self.inode == inode)
  }
}

/// A set for a group.
struct FenceWrite: Equatable, Sendable {
  var path: String
  var cpus: CPUSet
}

/// What is to be written, and what is to be remembered of it.
struct FencePlan: Equatable, Sendable {
  /// In this order.
  var writes: [FenceWrite]
  /// Empty once everybody has what they declare.
  var neighbours: [Neighbour]
}
