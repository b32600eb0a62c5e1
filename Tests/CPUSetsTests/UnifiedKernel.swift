// SPDX-License-Identifier: Apache-2.0
import TestValues

@testable import CPUSets
@testable import Quantities

/// The cpuset controller as cgroup v2 has it (kernel/cgroup/cpuset.c of Linux 6.12), as far as it was
/// seen to behave.
struct UnifiedKernel {
  final class Group {
    let inode: UInt64
    let path: String
    var cpus = CPUSet()
    var exclusive = CPUSet()
    var partition = CpusetPartition.member
    var hasProcesses = false
    fileprivate var hasLostCPUs = false
    private(set) weak var parent: Group?
    private(set) var children: [Group] = []

    init(_ path: String, inode: UInt64, in parent: Group?) {
      self.path = path
      self.inode = inode
      self.parent = parent
      parent?.children.append(self)
    }

    var all: [Group] { [self] + children.flatMap(\.all) }
    var siblings: [Group] { parent?.children.filter { $0 !== self } ?? [] }
    /// The groups it is in, without the root.
    var ancestors: [Group] {
      guard let parent, parent.parent != nil else { return [] }
      return [parent] + parent.ancestors
    }
    var isPopulated: Bool { all.contains(where: \.hasProcesses) }

    func remove() { parent?.children.removeAll { $0 === self } }
  }

  let root: Group
  /// Whether the kernel has partitions below groups that are none: since 6.7.
  var hasPartitions = true
  /// The inodes of those that it makes none for reasons of its own.
  var refused: Set<UInt64> = []
  /// Whether CPUs were lost for good: "root" over an invalid partition.
  var hasLostCPUs: Bool { root.hasLostCPUs }
  private var lastInode: UInt64 = 1

  init(cpus: CPUSet) {
    root = Group("/", inode: 1, in: nil)
    root.cpus = cpus
  }

  mutating func make(_ name: String? = nil, in parent: Group) -> Group {
    lastInode += 1
    let name = name ?? "g\(lastInode)"
    return Group(
      parent === root ? "/\(name)" : "\(parent.path)/\(name)", inode: lastInode, in: parent)
  }

  subscript(path: String) -> Group? { root.all.first { $0.path == path } }

  var snapshot: [UnifiedGroup] {
    root.all.map {
      UnifiedGroup(
        path: $0.path, inode: $0.inode, cpus: $0.cpus,
        exclusive: $0 === root || !hasPartitions ? nil : $0.exclusive, partition: $0.partition,
        isPopulated: $0.isPopulated)
    }
  }

  /// What a group may use.
  func effective(_ group: Group) -> CPUSet {
    if group.partition == .root { return group.exclusive }
    var cpus = group.parent.map { effective($0) } ?? group.cpus
    let below = group.all.filter { $0.partition == .root }
    for partition in below { cpus = cpus.subtracting(partition.exclusive) }
    if group === root { return cpus }
    let own = group.cpus.intersection(cpus)
    return own.isEmpty ? cpus : own
  }

  /// - Returns: Whether the kernel takes it.
  func carryOut(_ write: UnifiedWrite) -> Bool {
    guard let group = self[write.path] else { return true }
    switch write.value {
    case .cpus(let cpus): return self.write(cpus, to: group)
    case .exclusive(let cpus):
      let isTaken = group.siblings.contains {
        !$0.exclusive.isDisjoint(with: cpus) || !$0.cpus.isEmpty && $0.cpus.isSubset(of: cpus)
      }
      if !cpus.isEmpty && isTaken { return false }
      group.exclusive = cpus
      if group.partition == .root && !mayBePartition(group) { group.partition = .invalid }
    case .partition(isRoot: false): group.partition = .member
    case .partition(isRoot: true):
      if group.partition == .invalid { root.hasLostCPUs = true }
      group.partition = mayBePartition(group) ? .root : .invalid
    }
    return true
  }

  /// Anybody's write of a set.
  func write(_ cpus: CPUSet, to group: Group) -> Bool {
    if cpus.isEmpty && !group.cpus.isEmpty && group.isPopulated { return false }
    group.cpus = cpus
    for other in group.siblings
    where other.partition == .root && !cpus.isDisjoint(with: other.exclusive) {
      other.partition = .invalid
    }
    return true
  }

  private func mayBePartition(_ group: Group) -> Bool {
    !group.exclusive.isEmpty && !refused.contains(group.inode)
      && group.ancestors.allSatisfy { group.exclusive.isSubset(of: $0.exclusive) }
      && group.siblings.allSatisfy { $0.cpus.isDisjoint(with: group.exclusive) }
      && !root.cpus.isSubset(of: group.exclusive)
  }
}
