// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Which files of cgroup v2 have to be written so that the CPUs of strict containers are their own,
/// as a pure function of the tree.
///
/// What a group may use is a part of what the group above may use, whatever it has written
/// (cpuset.cpus.effective). So only the groups right beside a strict container, or beside a group
/// above one, ever have to keep off: all below them follow. Those that have no set of their own
/// follow the kernel once the strict container is a partition; only where that cannot be are they
/// given one.
package struct CpusetPlanV2 {
  private let groups: [UnifiedGroup]
  private let holders: [StrictOwner]
  private let lent: [UInt64: CPUSet]
  private let refused: Set<UInt64>
  private let hasPartitions: Bool
  private var nodes: [Node] = []
  /// The inodes of partitions that other processes made, and the CPUs that are left without theirs.
  private let strangers: Set<UInt64>
  private let all: CPUSet
  /// What all groups may use, and what no other group may.
  private let shared: CPUSet
  private let own: CPUSet
  /// What no partition keeps others off.
  private var unguarded = CPUSet()

  private enum Role { case above, own, inside, beside, other }

  private struct Node {
    let parent: Int?
    var role = Role.other
    /// What strict containers at or below it hold.
    var below = CPUSet()
    /// As much of that as is to be a partition's.
    var guarded = CPUSet()
    /// What it may use once all is written.
    var effective = CPUSet()
    var declared = CPUSet()
    var desired = CPUSet()
    /// Whether it has all CPUs by name, because the kernel does not take none.
    var isRestored = false
    var exclusive = CPUSet()
    var lent = CPUSet()
  }

  /// Plans the writes.
  ///
  /// - Parameters:
  ///   - groups: The root group, and each group followed by everything below it.
  ///   - holders: The strict containers.
  ///   - neighbours: What the last plan has said of the sets it wrote.
  ///   - lent: What it has said of the exclusive CPUs.
  ///   - refused: The inodes of strict containers that the kernel makes no partition.
  /// - Returns: The writes, and what to remember once they are done.
  package static func plan(
    groups: [UnifiedGroup], holders: [StrictOwner], neighbours: [Neighbour] = [],
    lent: [UInt64: CPUSet] = [:], refused: Set<UInt64> = []
  ) -> UnifiedPlan {
    guard let root = groups.first, !root.cpus.isEmpty else {
      return UnifiedPlan(writes: [], neighbours: neighbours, lent: lent)
    }
    var fence = CpusetPlanV2(groups, root, holders, lent, refused)
    fence.findHolders()
    fence.judge(neighbours)
    return UnifiedPlan(
      writes: fence.writes, neighbours: fence.remembered, lent: fence.stillLent)
  }

  private init(
    _ groups: [UnifiedGroup], _ root: UnifiedGroup, _ holders: [StrictOwner],
    _ lent: [UInt64: CPUSet], _ refused: Set<UInt64>
  ) {
    self.groups = groups
    self.holders = holders.filter { !$0.cpus.isEmpty }
    self.lent = lent
    self.refused = refused
    hasPartitions = groups.contains { $0.exclusive != nil }
    let strangers = groups.filter { Self.isStranger($0, holders, lent) }
    self.strangers = Set(strangers.map(\.inode))
    let others = strangers.reduce(root.cpus) {
      $0.subtracting($1.exclusive.flatMap { $0.isEmpty ? nil : $0 } ?? $1.cpus)
    }
    // CPUs may go offline until none is left, or none is shared; then no task can be kept off any.
    all = others.isEmpty ? root.cpus : others
    let left = holders.reduce(all) { $0.subtracting($1.cpus) }
    shared = left.isEmpty ? all : left
    own = all.subtracting(shared)
  }

  /// Whether a group is a partition that is no strict container's, and in which there is none: what
  /// it has no other group has anyway, and a set that names it would break it.
  private static func isStranger(
    _ group: UnifiedGroup, _ holders: [StrictOwner], _ lent: [UInt64: CPUSet]
  ) -> Bool {
    group.partition == .root && (lent[group.inode] == nil || lent[group.inode] != group.exclusive)
      && !holders.contains {
        $0.has(path: group.path, inode: group.inode) || $0.path.isGroup(below: group.path)
          || group.path.isGroup(below: $0.path)
      }
  }

  /// Finds each group's parent, and where the strict containers are.
  private mutating func findHolders() {
    var above: [Int] = []
    for (index, group) in groups.enumerated() {
      while let last = above.last, !group.path.isGroup(below: groups[last].path) {
        above.removeLast()
      }
      nodes.append(Node(parent: above.last))
      let parent = above.last.map { nodes[$0].role }
      if parent == .own || parent == .inside { nodes[index].role = .inside }
      if index == 0 { nodes[index].role = .above }
      for holder in holders where nodes[index].role != .inside {
        if index > 0 && holder.has(path: group.path, inode: group.inode) {
          let isGuarded = hasPartitions && !refused.contains(group.inode)
          for place in above + [index] {
            nodes[place].role = place == index ? .own : .above
            nodes[place].below = nodes[place].below.union(holder.cpus)
            if isGuarded { nodes[place].guarded = nodes[place].guarded.union(holder.cpus) }
          }
          if !isGuarded { unguarded = unguarded.union(holder.cpus) }
        } else if holder.inode == nil && holder.path.isGroup(below: group.path) {
          nodes[index].role = .above
          nodes[index].below = nodes[index].below.union(holder.cpus)
          if !hasPartitions { unguarded = unguarded.union(holder.cpus) }
        }
      }
      above.append(index)
    }
  }

  /// Finds what each group declares and gets, from the root down.
  private mutating func judge(_ neighbours: [Neighbour]) {
    let known = Dictionary(neighbours.map { ($0.inode, $0) }, uniquingKeysWith: { $1 })
    nodes[0].effective = all
    for (index, group) in groups.enumerated() {
      judgeExclusive(index)
      guard let parent = nodes[index].parent else { continue }
      if nodes[index].role == .other && nodes[parent].role == .above { nodes[index].role = .beside }
      let applied = known[group.inode].flatMap { $0.applied == group.cpus ? $0.declared : nil }
      nodes[index].declared = applied ?? group.cpus
      nodes[index].desired = desired(index, within: nodes[parent].effective)
      let cpus = nodes[index].desired.intersection(nodes[parent].effective)
      nodes[index].effective = cpus.isEmpty ? nodes[parent].effective : cpus
    }
  }

  private mutating func desired(_ index: Int, within effective: CPUSet) -> CPUSet {
    let group = groups[index]
    let node = nodes[index]
    let declared = node.declared
    // The kernel takes no empty set for a group with processes.
    let canFollow = group.cpus.isEmpty || !group.isPopulated
    switch node.role {
    case .own, .inside: return group.cpus
    case _ where strangers.contains(group.inode): return group.cpus
    case .above where !declared.isEmpty:
      var cpus = declared.subtracting(own.subtracting(node.below))
      // A group is or will be beside the strict container, and needs a place.
      if cpus.isDisjoint(with: shared) { cpus = cpus.union(effective.intersection(shared)) }
      return cpus.union(node.below.intersection(declared.union(group.cpus)))
    case .beside where !own.isEmpty:
      if declared.isEmpty && canFollow && effective.isDisjoint(with: unguarded) { return CPUSet() }
      let usable = declared.intersection(effective)
      if !usable.isEmpty && declared.isDisjoint(with: own) { return declared }
      let cpus = usable.intersection(shared)
      return cpus.isEmpty ? effective.intersection(shared) : cpus
    case .above, .beside, .other:
      nodes[index].isRestored = declared.isEmpty && !canFollow
      return nodes[index].isRestored ? all : declared
    }
  }

  /// A partition's CPUs must be exclusive on each level from the root's child down to it.
  private mutating func judgeExclusive(_ index: Int) {
    let group = groups[index]
    guard let found = group.exclusive else { return }
    let node = nodes[index]
    let foreign =
      node.role == .own ? CPUSet() : found.subtracting(lent[group.inode] ?? CPUSet())
    nodes[index].exclusive = foreign.union(node.guarded)
    if node.role == .own && node.guarded.isEmpty && lent[group.inode] == nil {
      nodes[index].exclusive = found
    }
    nodes[index].lent = node.guarded.subtracting(foreign)
  }

  /// Whether a group is to be made no partition first.
  ///
  /// "root" over an invalid one, or other CPUs in one step, and Linux 6.12 loses CPUs for good.
  private func needsDissolving(_ group: UnifiedGroup, _ node: Node) -> Bool {
    guard group.partition != .member else { return false }
    switch node.role {
    case .own:
      return node.guarded.isEmpty || group.partition == .invalid
        || node.exclusive.isDisjoint(with: group.exclusive ?? CPUSet())
    // One that was a strict container's, and no operator's.
    case .beside, .other: return lent[group.inode] != nil && lent[group.inode] == group.exclusive
    case .above, .inside: return false
    }
  }

  /// Takes away before it gives: no CPU ever is in two places, and the kernel takes every write.
  private var writes: [UnifiedWrite] {
    var dissolved: [UnifiedWrite] = []
    var released: [UnifiedWrite] = []
    var narrower: [UnifiedWrite] = []
    var wider: [UnifiedWrite] = []
    var lent: [UnifiedWrite] = []
    var made: [UnifiedWrite] = []
    for (group, node) in zip(groups, nodes) where node.parent != nil && node.role != .inside {
      let isDissolved = needsDissolving(group, node)
      func write(_ list: inout [UnifiedWrite], _ value: UnifiedWrite.Value) {
        list.append(UnifiedWrite(path: group.path, value: value))
      }
      if isDissolved { write(&dissolved, .partition(isRoot: false)) }
      if let found = group.exclusive {
        let kept = found.intersection(node.exclusive)
        if kept != found { write(&released, .exclusive(kept)) }
        if kept != node.exclusive { write(&lent, .exclusive(node.exclusive)) }
      }
      if node.role == .own && !node.guarded.isEmpty && (isDissolved || group.partition == .member) {
        write(&made, .partition(isRoot: true))
      }
      if node.desired != group.cpus {
        let isWider =
          node.desired.isEmpty || !group.cpus.isEmpty && group.cpus.isSubset(of: node.desired)
        if isWider {
          write(&wider, .cpus(node.desired))
        } else {
          write(&narrower, .cpus(node.desired))
        }
      }
    }
    return dissolved + released.reversed() + narrower + wider + lent + made
  }

  private var remembered: [Neighbour] {
    zip(groups, nodes).compactMap { group, node in
      guard node.parent != nil, node.role != .own, node.role != .inside else { return nil }
      // Without all CPUs, as long as a partition has some, it is not as it was.
      let isBack = node.desired == node.declared || node.isRestored && strangers.isEmpty
      if group.cpus == node.desired && isBack { return nil }
      return Neighbour(inode: group.inode, declared: node.declared, applied: node.desired)
    }
  }

  private var stillLent: [UInt64: CPUSet] {
    var found: [UInt64: CPUSet] = [:]
    for (group, node) in zip(groups, nodes) {
      // What is about to be taken away is remembered until it is.
      let cpus = node.lent.union(
        (lent[group.inode] ?? CPUSet()).intersection(group.exclusive ?? CPUSet()))
      if !cpus.isEmpty { found[group.inode] = cpus }
    }
    return found
  }
}
