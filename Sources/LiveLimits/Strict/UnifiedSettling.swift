// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Glibc
internal import Quantities
internal import Syscalls

/// The strict containers that the kernel makes no partition, and the tree for which it has said so:
/// it is asked again when the tree is another one.
struct RefusedPartitions {
  var inodes: Set<UInt64> = []
  private var tree: UInt64 = 0
  /// The tree in which one was refused last, as far as it was known.
  private var refusal: UInt64?
  /// Whether nothing was planned since.
  private var isFresh = false

  /// Forgets all that was said of another tree.
  mutating func look(at groups: [UnifiedGroup]) {
    if Self.mark(groups) != tree { inodes = [] }
  }

  /// Takes note of what the tree is like while this holds.
  mutating func settle(_ groups: [UnifiedGroup]) { tree = Self.mark(groups) }

  /// Takes note that the kernel has said no, and to what.
  mutating func refuse(_ inode: UInt64, in groups: [UnifiedGroup]) {
    inodes.insert(inode)
    refusal = Self.mark(groups)
    isFresh = true
  }

  /// Forgets a refusal that has just come of what another process wrote in the same moment.
  ///
  /// Before others are kept off by sets: the kernel lets no group with processes be without one
  /// again.
  mutating func forgetIfOvertaken(by groups: [UnifiedGroup]) {
    if isFresh { forgetOvertaken(by: groups) }
    isFresh = false
  }

  /// Forgets a refusal in a tree that has changed since: another process wrote in the same moment.
  ///
  /// - Returns: Whether there was one, and it has to be tried again.
  @discardableResult
  mutating func forgetOvertaken(by groups: [UnifiedGroup]) -> Bool {
    guard let refusal, !inodes.isEmpty, refusal != Self.mark(groups) else { return false }
    inodes = []
    self.refusal = nil
    return true
  }

  private static func mark(_ groups: [UnifiedGroup]) -> UInt64 {
    var hash = FNV1a()
    for group in groups {
      hash.add(group.inode)
      hash.add(group.cpus.description.utf8)
      hash.add(10)
    }
    return hash.value
  }
}

extension CPUFence {
  /// Writes what has to be written on cgroup v2, and again what has changed meanwhile.
  ///
  /// - Parameters:
  ///   - registry: The lock.
  ///   - holders: The strict containers.
  ///   - before: Those, and the containers that were until now.
  /// - Throws: ``SystemError``, as ``settle(_:leaver:)`` does.
  func settleUnified(
    _ registry: borrowing CPURegistry, _ holders: [StrictContainerCPUs],
    _ before: [StrictContainerCPUs]
  ) throws(SystemError) {
    try settleInRounds { round throws(SystemError) in
      let groups = try lookAtUnified(holders)
      if round == 0 { refused.look(at: groups) }
      // In each round: if another process writes faster than this loop ends, the supervisor tries
      // again later, and no bystander gets a set.
      refused.forgetIfOvertaken(by: groups)
      let loaded = registry.loadNeighbours()
      let record =
        loaded
        ?? recover(registry, before) {
          NeighbourRecord(rebuiltFrom: groups, holders: before.map(\.fenced), declared: $0.cpus)
        }
      let plan = CpusetPlanV2.plan(
        groups: groups, holders: holders.map(\.fenced),
        neighbours: record.reconciled(with: groups), lent: record.lent, refused: refused.inodes)
      try note(NeighbourRecord(plan, groups, isKept: !holders.isEmpty), after: loaded, registry)
      guard plan.writes.isEmpty else { return .wrote(carryOut(plan, groups, holders)) }
      if round + 1 < Self.rounds, refused.forgetOvertaken(by: groups) { return .overtaken }
      refused.settle(groups)
      return .settled
    }
  }

  private func lookAtUnified(_ holders: [StrictContainerCPUs]) throws(SystemError) -> [UnifiedGroup]
  {
    let snapshot = try tree.unifiedSnapshot(watch, holders: holders.map(\.fenced))
    hearsOfAll = !isListening || watch.hears && snapshot.isWatched
    return snapshot.groups
  }

  /// - Returns: What was in the way; what was merely overtaken the next round sees.
  private func carryOut(
    _ plan: UnifiedPlan, _ groups: [UnifiedGroup], _ holders: [StrictContainerCPUs]
  ) -> SystemError? {
    var groups = groups
    for write in plan.writes {
      guard let index = groups.firstIndex(where: { $0.path == write.path }) else { continue }
      let group = groups[index]
      let directory = tree.directory(write.path)
      do throws(SystemError) {
        switch write.value {
        case .cpus(let cpus):
          // Another process's write is not to be lost.
          guard tree.cpus(of: write.path) == group.cpus else { return nil }
          try CgroupWriter.setCPUs(cpus, of: directory)
          groups[index].cpus = cpus
        case .exclusive(let cpus):
          try CgroupWriter.setExclusiveCPUs(cpus, of: directory)
        case .partition(let isRoot):
          let now = try CgroupWriter.setPartition(isRoot: isRoot, of: directory)
          if isRoot && now != .root {
            refuse(at: group, groups, holders)
            // At once: a process that writes "root" over an invalid partition loses its CPUs for
            // good.
            _ = try CgroupWriter.setPartition(isRoot: false, of: directory)
          }
        }
      } catch {
        if error.errno == ENOENT || error.errno == ENODEV { return nil }
        if case .cpus = write.value { return error }
        // No partition, then; the next round does without.
        return refuse(at: group, groups, holders) ? nil : error
      }
    }
    return nil
  }

  /// Takes note that the strict containers at or below a group are not made partitions.
  ///
  /// - Returns: Whether there are any that were not known to be none.
  @discardableResult
  private func refuse(
    at group: UnifiedGroup, _ groups: [UnifiedGroup], _ holders: [StrictContainerCPUs]
  ) -> Bool {
    let before = refused.inodes.count
    for holder in holders.map(\.fenced)
    where holder.path == group.path || holder.path.isGroup(below: group.path) {
      if let own = groups.first(where: { holder.has(path: $0.path, inode: $0.inode) }) {
        refused.refuse(own.inode, in: groups)
      }
    }
    return refused.inodes.count > before
  }
}
