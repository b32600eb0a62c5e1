// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CPUSets
internal import Cgroups
internal import Glibc
internal import Quantities
package import State
package import Syscalls

/// Keeps all other tasks off the CPUs of the strict containers, and lets them back.
///
/// ``settle(_:leaver:)`` makes the cpuset tree what it has to be, whichever process calls it: each
/// strict container's own supervisor when something changes in the tree, an update before the
/// low-level runtime writes. It is the same for all of them, under one lock, and a second one finds
/// nothing to do.
package final class CPUFence {
  let root: StateRoot
  /// What reports changes of the tree; no file if no process listens.
  let watch: FileWatch
  /// Whether each group was watched at the last look.
  var hearsOfAll = true

  let isListening: Bool
  let tree: CpusetTree
  /// What was last written down, for when another process has removed the file.
  var last: NeighbourRecord?
  /// The containers that are no partition of cgroup v2.
  var refused = RefusedPartitions()

  /// How often the tree is gone through again because it changed meanwhile.
  static let rounds = 8

  /// Makes a fence around what the states below `root` say.
  ///
  /// - Parameters:
  ///   - root: Where the states are.
  ///   - listening: Whether to notice changes from the first look on.
  /// - Throws: ``SystemError``: ENODEV where no hierarchy has cpuset.
  package init(root: StateRoot, listening: Bool = false) throws(SystemError) {
    guard let tree = CpusetTree.ofMachine() else {
      throw SystemError("find", "the cpuset hierarchy", errno: ENODEV)
    }
    self.root = root
    self.tree = tree
    isListening = listening
    watch = listening ? .ifAvailable() : FileWatch(adopting: .none)
  }

  /// Takes the lock, and writes what has to be written.
  ///
  /// - Throws: ``SystemError``, as ``settle(_:leaver:)`` and ``CPURegistry/init(locking:)`` do.
  package func settle() throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    try settle(registry)
  }

  /// Forgets the changes that were reported, and settles the tree; what is in the way now is seen
  /// to when the container has been found.
  func settleSoon() {
    watch.drain()
    // What is in the way now is seen to later.
    try? settle()
  }

  /// Writes what has to be written, and again what has changed meanwhile.
  ///
  /// - Parameters:
  ///   - registry: The lock.
  ///   - leaver: A container that shared its CPUs just now, as it was before.
  /// - Throws: ``SystemError`` that names the group which could not be written; or the file, when
  ///   what was there could not be written down, and then nothing more is written to the kernel.
  func settle(_ registry: borrowing CPURegistry, leaver: StrictContainerCPUs? = nil)
    throws(SystemError)
  {
    let states = registry.states()
    let holders = states.compactMap(StrictContainerCPUs.init)
    let before = holders + (leaver.map { [$0] } ?? [])
    defer { seat(supervisors: states.compactMap(\.supervisor), besides: holders) }
    if makesPartitions { return try settleUnified(registry, holders, before) }
    try settleInRounds { _ throws(SystemError) in
      let groups = try look()
      let loaded = registry.loadNeighbours()
      let record =
        loaded
        ?? recover(registry, before) {
          NeighbourRecord(rebuiltFrom: groups, holders: before.map(\.fenced), declared: $0.cpus)
        }
      let plan = CpusetPlanV1.plan(
        groups: groups, holders: holders.map(\.fenced), neighbours: record.reconciled(with: groups))
      try note(NeighbourRecord(plan, groups, isKept: !holders.isEmpty), after: loaded, registry)
      return plan.writes.isEmpty ? .settled : .wrote(carryOut(plan, groups))
    }
  }

  /// What came of one round of settling.
  enum RoundOutcome {
    /// Nothing had to be written.
    case settled
    /// Something was, as far as nothing was in the way.
    case wrote(SystemError?)
    /// What was known is no longer true.
    case overtaken
  }

  /// Looks, plans and writes until nothing is left to write: the loop of both planners.
  ///
  /// - Parameter round: Takes the number of the round.
  /// - Throws: ``SystemError`` of the round, or what was in the way in the last one.
  func settleInRounds(
    _ round: (Int) throws(SystemError) -> RoundOutcome
  ) throws(SystemError) {
    var obstacle: SystemError?
    for number in 0..<Self.rounds {
      switch try round(number) {
      case .settled: return
      case .wrote(let found): obstacle = found
      case .overtaken: continue
      }
    }
    throw obstacle
      ?? SystemError("settle", "the cpusets, which another process keeps changing", errno: EAGAIN)
  }

  /// Notes what is about to be written: the first round may find nothing to do, and yet more to note.
  func note(
    _ next: NeighbourRecord, after loaded: NeighbourRecord?, _ registry: borrowing CPURegistry
  ) throws(SystemError) {
    if next != loaded { try registry.save(next) }
    last = next
  }

  /// Gives an instance's CPUs back, lets the others return to what they declared, and removes the
  /// instance.
  ///
  /// The instance stays until the others are back: a supervisor that dies before is replaced.
  ///
  /// - Parameter directory: The instance; its lock is the caller's.
  /// - Throws: ``SystemError``, as ``settle(_:leaver:)`` does; the instance is still there then.
  package func release(_ directory: borrowing StateDirectory) throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    if let state = directory.load() {
      try giveUpCPUs(of: state, directory, registry)
    } else {
      try settle(registry)
    }
    directory.remove()
  }

  /// Writes down that a container holds no CPUs any more, and lets the others return.
  func giveUpCPUs(
    of state: ContainerState, _ directory: borrowing StateDirectory,
    _ registry: borrowing CPURegistry
  ) throws(SystemError) {
    var next = state
    next.claim?.held = CPUSet()
    try directory.save(next)
    try settle(registry, leaver: StrictContainerCPUs(state))
  }

  /// Whether it makes strict containers partitions of cgroup v2, as far as it gets.
  var makesPartitions: Bool { tree.version.hasPartitions }

  /// Whether a CPU is left for all other tasks.
  func leavesShared(_ cpus: CPUSet, besides others: [StrictContainerCPUs]) -> Bool {
    !Self.shared(besides: others).isSubset(of: cpus)
  }

  private func look() throws(SystemError) -> [CpusetGroup] {
    let snapshot = try tree.snapshot(watch)
    hearsOfAll = !isListening || watch.hears && snapshot.isWatched
    return snapshot.groups
  }

  /// What the groups had, when the file that says so is lost or torn.
  ///
  /// - Parameters:
  ///   - registry: The lock.
  ///   - holders: The strict containers for which others were narrowed.
  ///   - rebuild: Makes a record of the groups there are and of what runtimes declare.
  /// - Returns: The last record, if this process wrote one; else a rebuilt one, or an empty one.
  func recover(
    _ registry: borrowing CPURegistry, _ holders: [StrictContainerCPUs],
    rebuild: (RuntimeStates) -> NeighbourRecord
  ) -> NeighbourRecord {
    if let last { return last }
    // The first strict container there is finds everything as its owner wrote it.
    guard registry.hasNeighbours || holders.contains(where: \.isRunning) else {
      return NeighbourRecord()
    }
    return rebuild(RuntimeStates(roots: registry.states().map(\.root)))
  }

  /// Writes set after set, as long as each group has what it was planned from.
  ///
  /// - Returns: What was in the way; what was merely overtaken the next round sees.
  private func carryOut(_ plan: FencePlan, _ groups: [CpusetGroup]) -> SystemError? {
    var known: [String: CPUSet] = [:]
    for group in groups { known[group.path] = group.cpus }
    for write in plan.writes {
      guard let now = tree.cpus(of: write.path), now == known[write.path] else { return nil }
      do throws(SystemError) {
        try CgroupWriter.setCPUs(write.cpus, of: tree.directory(write.path))
      } catch { return error }
      known[write.path] = write.cpus
    }
    return nil
  }
}

// MARK: our own processes

extension CPUFence {
  /// Takes our own processes off the CPUs of strict containers, or lets them back.
  ///
  /// They are in the root group, which no cpuset narrows, and keep off by their own affinity. The same
  /// user may set it without a capability (sched_setaffinity(2)).
  private func seat(supervisors: [ProcessIdentity], besides holders: [StrictContainerCPUs]) {
    let shared = Self.shared(besides: holders)
    for supervisor in supervisors where ProcessIdentity(pid: supervisor.pid) == supervisor {
      shared.seat(process: supervisor.pid)
    }
    shared.seat(process: 0)
  }

  /// Takes the calling process off the CPUs of strict containers.
  ///
  /// - Returns: Whether there are any.
  @discardableResult
  static func seatCaller(_ root: StateRoot) -> Bool {
    guard isKept(root) else { return false }
    let holders = root.instances().compactMap { path -> StrictContainerCPUs? in
      StateDirectory.load(at: path).flatMap(StrictContainerCPUs.init)
    }
    shared(besides: holders).seat(process: 0)
    return true
  }

  /// Lets the calling process run on all CPUs again.
  static func unseatCaller() { shared(besides: []).seat(process: 0) }

  /// Lets the others back after a registry was damaged: no supervisor is left that would.
  static func letBack(_ root: StateRoot) {
    if isKept(root) { try? CPUFence(root: root).settle() }
  }

  /// Whether there are strict containers, or a group is still narrowed for one.
  static func isKept(_ root: StateRoot) -> Bool {
    access(root.cpus + "/" + NeighbourRecord.file, F_OK) == 0
  }

  private static func shared(besides holders: [StrictContainerCPUs]) -> CPUSet {
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
