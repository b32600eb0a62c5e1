// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// Which sets have to be written so that the CPUs of strict containers are their own, as a pure
/// function of the cpuset tree.
///
/// Groups with processes keep off; so does all below them, because on cgroup v1 a child's set is a
/// part of its parent's at every instant (validate_change of kernel/cgroup/cpuset-v1.c). A group that
/// only has children stays as wide as it was: engines make groups in it with sets of their own, which
/// must not fail.
package struct CpusetPlanV1 {
  private let groups: [CpusetGroup]
  private var nodes: [Node] = []
  /// What all groups may use.
  private let shared: CPUSet

  /// What is found out of a group.
  private struct Node {
    /// The group it is in, by its place in the list; nil for the root.
    let parent: Int?
    /// Whether it is not written: a holder's group, a group below it, or a group without a set yet.
    var isLeftAlone = false
    /// Whether a holder's group is below it, or will be, and what it has to have for that.
    var isAboveHolder = false
    var holdersBelow = CPUSet()
    /// Whether something below it keeps off.
    var isAboveFenced = false
    /// What it would have without us.
    var declared: CPUSet
    /// What it gets.
    var desired: CPUSet
  }

  /// Plans the writes.
  ///
  /// - Parameters:
  ///   - groups: The root group, and each group followed by everything below it.
  ///   - holders: The strict containers.
  ///   - neighbours: What the last plan has said of the groups it wrote.
  /// - Returns: The writes, and what to remember once they are done.
  package static func plan(
    groups: [CpusetGroup], holders: [StrictOwner], neighbours: [Neighbour]
  ) -> FencePlan {
    guard let root = groups.first, !root.cpus.isEmpty else {
      return FencePlan(writes: [], neighbours: neighbours)
    }
    var fence = CpusetPlanV1(groups: groups, root: root, holders: holders)
    fence.findHolders(holders)
    fence.lookDown()
    fence.judge(neighbours)
    return FencePlan(writes: fence.writes, neighbours: fence.remembered)
  }

  private init(groups: [CpusetGroup], root: CpusetGroup, holders: [StrictOwner]) {
    self.groups = groups
    let left = holders.reduce(root.cpus) { $0.subtracting($1.cpus) }
    // CPUs may go offline until none is shared; then no task can be kept off any.
    shared = left.isEmpty ? root.cpus : left
  }

  /// Finds each group's parent, and the groups that are not ours to write.
  private mutating func findHolders(_ holders: [StrictOwner]) {
    var above: [Int] = []
    for (index, group) in groups.enumerated() {
      while let last = above.last, !groups[last].isAbove(group.path) { above.removeLast() }
      nodes.append(Node(parent: above.last, declared: group.cpus, desired: group.cpus))
      let parentIsLeftAlone = above.last.map { nodes[$0].isLeftAlone } ?? false
      nodes[index].isLeftAlone = !above.isEmpty && (group.cpus.isEmpty || parentIsLeftAlone)
      for holder in holders {
        if holder.has(group) {
          nodes[index].isLeftAlone = !above.isEmpty
          for ancestor in above { makeRoom(for: holder, group.cpus, in: ancestor) }
        } else if holder.inode == nil && group.isAbove(holder.path) {
          makeRoom(for: holder, CPUSet(), in: index)
        }
      }
      above.append(index)
    }
  }

  /// A group above a holder's keeps what the holder has, and what it is to have.
  private mutating func makeRoom(for holder: StrictOwner, _ cpus: CPUSet, in index: Int) {
    nodes[index].isAboveHolder = true
    nodes[index].holdersBelow = nodes[index].holdersBelow
      .union(cpus).union(holder.cpus.intersection(groups[index].cpus))
  }

  /// Finds the groups that something below has to keep off in.
  private mutating func lookDown() {
    for (index, group) in groups.enumerated().reversed() {
      let node = nodes[index]
      guard let parent = node.parent, !node.isLeftAlone else { continue }
      if node.isAboveFenced || group.hasProcesses && !node.isAboveHolder {
        nodes[parent].isAboveFenced = true
      }
    }
  }

  /// Finds what each group declares and gets, from the root down.
  private mutating func judge(_ neighbours: [Neighbour]) {
    let known = Dictionary(neighbours.map { ($0.inode, $0) }, uniquingKeysWith: { $1 })
    for (index, group) in groups.enumerated() {
      guard let parent = nodes[index].parent, !nodes[index].isLeftAlone else { continue }
      let above = nodes[parent]
      // A child may be outside of what its parent declares only where the parent got more than that.
      let declared = declared(by: group, known[group.inode], in: parent)
        .intersection(above.declared.union(above.desired))
      nodes[index].declared = declared.isEmpty ? above.declared : declared
      nodes[index].desired = desired(
        by: nodes[index], hasProcesses: group.hasProcesses, in: above.desired)
    }
  }

  /// What a group wants: what is remembered, unless another process has written since.
  private func declared(by group: CpusetGroup, _ known: Neighbour?, in parent: Int) -> CPUSet {
    if let known {
      // An offline CPU is taken out of every set by the kernel itself.
      let applied = known.applied.intersection(groups[0].cpus)
      return applied == group.cpus ? known.declared : group.cpus
    }
    // Who makes a group on cgroup v1 copies its parent's set.
    let isCopy = group.cpus == groups[parent].cpus
    return isCopy ? nodes[parent].declared : group.cpus
  }

  private func desired(by node: Node, hasProcesses: Bool, in above: CPUSet) -> CPUSet {
    let sharedAbove = above.intersection(shared)
    if hasProcesses && !node.isAboveHolder {
      let cpus = node.declared.intersection(sharedAbove)
      return cpus.isEmpty ? sharedAbove : cpus
    }
    // Below one that keeps off this is a part of what is shared.
    var cpus = node.declared.intersection(above)
    if cpus.isEmpty { cpus = above }
    if node.isAboveHolder { cpus = cpus.union(node.holdersBelow) }
    if node.isAboveFenced && cpus.isDisjoint(with: shared) { cpus = cpus.union(sharedAbove) }
    return cpus
  }

  /// First wider from the root down, then narrower from the leaves up, so that the kernel takes every
  /// single one.
  private var writes: [FenceWrite] {
    var wider: [FenceWrite] = []
    var narrower: [FenceWrite] = []
    for (group, node) in zip(groups, nodes) where !node.isLeftAlone {
      let between = group.cpus.union(node.desired)
      if between != group.cpus { wider.append(FenceWrite(path: group.path, cpus: between)) }
      if between != node.desired {
        narrower.append(FenceWrite(path: group.path, cpus: node.desired))
      }
    }
    return wider + narrower.reversed()
  }

  /// The groups that do not have what they declare; and all below one of these, to tell them from
  /// those that will be made there.
  private var remembered: [Neighbour] {
    zip(groups, nodes).compactMap { group, node in
      guard let parent = node.parent, !node.isLeftAlone else { return nil }
      let isParentChanged = nodes[parent].desired != nodes[parent].declared
      if node.desired == node.declared && group.cpus == node.desired && !isParentChanged {
        return nil
      }
      return Neighbour(inode: group.inode, declared: node.declared, applied: node.desired)
    }
  }
}
