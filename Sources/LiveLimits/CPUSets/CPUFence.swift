// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Hooks
public import Syscalls

/// Keeps everybody else off the CPUs of the strict containers, and lets them back.
///
/// Whoever calls ``settle(_:)`` makes the cpuset tree what it has to be: each strict container's own
/// supervisor when something changes in the tree, an update before the low-level runtime writes.
/// It is the same for all of them, under one lock, and a second one finds nothing to do.
public final class CPUFence {
  let root: StateRoot
  let watch: FileWatch
  private let tree: CpusetTree
  /// What was last written down, for when somebody has removed the file.
  private var memory: NeighbourRecord?

  /// How often the tree is gone through again because it changed meanwhile.
  private static let rounds = 8

  /// Makes a fence around what the states below `root` say.
  ///
  /// - Throws: ``SystemError``: ENODEV where cpuset has no hierarchy of its own.
  public init(root: StateRoot) throws(SystemError) {
    guard let tree = CpusetTree.ofMachine() else {
      throw SystemError("find", "the cpuset hierarchy", errno: ENODEV)
    }
    self.root = root
    self.tree = tree
    watch = try FileWatch()
  }

  /// Takes the lock, and writes what has to be written.
  ///
  /// - Parameter milliseconds: How long to wait for the lock.
  /// - Throws: ``SystemError``: EBUSY for a lock that was not to be had.
  @discardableResult
  public func settle(within milliseconds: Int64) throws(SystemError) -> Int {
    do throws(SystemError) {
      let registry = try CPURegistry(locking: root, within: milliseconds)
      return try settle(registry)
    } catch {
      // Nobody may wait for an event that was heard of already.
      watch.drain()
      throw error
    }
  }

  /// Writes what has to be written, and again what has changed meanwhile.
  ///
  /// - Parameter registry: The lock.
  /// - Returns: How many sets were written.
  /// - Throws: ``SystemError`` when what was there could not be written down; then nothing more is
  ///   written to the kernel.
  @discardableResult
  public func settle(_ registry: borrowing CPURegistry) throws(SystemError) -> Int {
    let states = registry.states()
    let holders = states.compactMap(CPUHolder.init)
    var writes = 0
    for _ in 0..<Self.rounds {
      watch.drain()
      let groups = tree.snapshot(watch)
      let record = registry.loadNeighbours() ?? memory ?? NeighbourRecord()
      let plan = Fence.plan(
        groups: groups, holders: holders.map(\.fenced),
        neighbours: record.reconciled(with: groups))
      var next = NeighbourRecord()
      next.neighbours = plan.neighbours
      try remember(pending(plan, groups, next), registry)
      writes += carryOut(plan, groups)
      if plan.writes.isEmpty {
        try remember(next, registry)
        break
      }
    }
    seat(supervisors: states.compactMap(\.supervisor), besides: holders)
    return writes
  }

  /// Gives an instance's CPUs back, lets the others return to what they declared, and removes the
  /// instance.
  ///
  /// The instance stays until the others are back: whoever dies before finds a successor.
  ///
  /// - Parameter directory: The instance; its lock is the caller's.
  public func release(_ directory: borrowing StateDirectory) throws(SystemError) {
    let registry = try CPURegistry(locking: root, within: 10_000)
    if var state = directory.load() {
      state.claim?.held = CPUSet()
      try directory.save(state)
    }
    try settle(registry)
    directory.remove()
  }

  /// Whether a CPU is left for everybody else.
  func leavesShared(_ cpus: CPUSet, besides others: [CPUHolder]) -> Bool {
    !Self.shared(besides: others).isSubset(of: cpus)
  }

  /// Gives a strict container's own group its CPUs.
  func setCPUs(_ cpus: CPUSet, of group: String) throws(SystemError) {
    try CgroupWriter.setCPUs(cpus, of: tree.directory(group))
  }

  /// The record as it must stand while the plan is carried out.
  private func pending(
    _ plan: FencePlan, _ groups: [CpusetGroup], _ next: NeighbourRecord
  ) -> NeighbourRecord {
    var record = next
    for write in plan.writes {
      guard let group = groups.first(where: { $0.path == write.path }) else { continue }
      record.pending[group.inode, default: [group.cpus]].append(write.cpus)
    }
    return record
  }

  private func remember(
    _ record: NeighbourRecord, _ registry: borrowing CPURegistry
  ) throws(SystemError) {
    if record != memory { try registry.save(record) }
    memory = record
  }

  /// Writes set after set, as long as each group has what it was planned from.
  ///
  /// - Returns: How many were written. What is refused or overtaken the next round sees.
  private func carryOut(_ plan: FencePlan, _ groups: [CpusetGroup]) -> Int {
    var known: [String: CPUSet] = [:]
    for group in groups { known[group.path] = group.cpus }
    for (count, write) in plan.writes.enumerated() {
      guard let now = tree.cpus(of: write.path), now == known[write.path],
        (try? CgroupWriter.setCPUs(write.cpus, of: tree.directory(write.path))) != nil
      else { return count }
      known[write.path] = write.cpus
    }
    return plan.writes.count
  }

  /// Our own processes are in the root group, which no cpuset narrows: they keep off by their own
  /// affinity. The same user may set it without a capability (sched_setaffinity(2)).
  private func seat(supervisors: [ProcessIdentity], besides holders: [CPUHolder]) {
    let shared = Self.shared(besides: holders)
    for supervisor in supervisors where ProcessIdentity(pid: supervisor.pid) == supervisor {
      shared.seat(process: supervisor.pid)
    }
    shared.seat(process: 0)
  }

  /// Takes the calling process off the CPUs of strict containers, or lets it back.
  static func seatCaller(_ root: StateRoot) {
    let claims = root.instances().compactMap { path -> CPUHolder? in
      (try? StateDirectory(opening: path))?.load().flatMap(CPUHolder.init)
    }
    shared(besides: claims).seat(process: 0)
  }

  /// Lets everybody back whom nobody is left to let back, after a registry was damaged.
  static func letBack(_ root: StateRoot) {
    guard access(root.cpus + "/" + NeighbourRecord.file, F_OK) == 0 else { return }
    _ = try? CPUFence(root: root).settle(within: 1000)
  }

  private static func shared(besides holders: [CPUHolder]) -> CPUSet {
    holders.reduce(CPUSet(Machine.onlineCPUs())) { $0.subtracting($1.claim.held) }
  }
}

extension CPUSet {
  /// Lets a process run on these CPUs only.
  func seat(process: Int32) {
    words.withUnsafeBufferPointer {
      _ = escra_set_affinity(process, $0.baseAddress, $0.count)
    }
  }
}
