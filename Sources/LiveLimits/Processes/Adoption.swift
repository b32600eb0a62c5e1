// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
package import Quantities
package import State
internal import Syscalls

extension Release {
  /// For how long the keeper may have an instance's lock when it looks.
  private static let adoptionPatience: Nanoseconds = 1_000_000_000

  /// Undoes a release: from here on whoever looks starts a supervisor.
  ///
  /// A member of an application comes back as a newcomer does, with what is granted to it; until
  /// then it has the least that it can do with. A strict container gets CPUs of its own as at
  /// create. Whoever dies in between leaves one that is to be released.
  ///
  /// - Parameters:
  ///   - directory: The container's instance; its lock is the caller's from here on, and to be let go
  ///     of before anybody is called.
  ///   - reserved: The operator's CPUs that are given to nobody.
  ///   - root: Where states and applications are.
  /// - Returns: Whether there was anything to undo.
  /// - Throws: ``ReleaseError``, ``CPUGrantError``, or ``SystemError`` for a registry or a group that
  ///   cannot be written; the container is released then as before.
  package static func adopt(
    _ directory: borrowing StateDirectory, reserved: CPUSet, _ root: StateRoot
  ) throws -> Bool {
    guard let stage = directory.releaseStage else { return false }
    // The keeper looks when this closes, however that comes.
    let witness = Launcher.connectKeeper(root)
    defer { if let witness { close(witness) } }
    guard waitForLock(of: directory) else {
      // Who released it died before its supervisor was ended.
      try directory.mark(nil)
      return true
    }
    guard let state = directory.load(), !state.isOver else { throw ReleaseError.ended }
    if state.unsupervised != nil,
      let reason = GroupOwner.reason(in: state.cpuDirectory, not: directory.nonce, root)
    {
      throw ReleaseError.owned(reason)
    }
    if stage == .asked { try finish(state, directory, root) }
    let takes = state.membership != nil || state.claim != nil
    if takes { try directory.mark(.asked) }
    do {
      if let membership = state.membership { try join(state, membership, directory.nonce, root) }
      if state.claim != nil {
        _ = try StrictUpdate.carryOut(
          CPURequest(), reserved: reserved, of: directory, root: root)
      }
    } catch {
      // The error is what is thrown; what is left of the release the keeper finishes by its mark.
      if let state = directory.load() { _ = try? finish(state, directory, root) }
      throw error
    }
    try directory.mark(nil)
    return true
  }

  private static func waitForLock(of directory: borrowing StateDirectory) -> Bool {
    let wait = LockWait(for: adoptionPatience)
    while !directory.claim() { guard wait.pause() else { return false } }
    return true
  }

  // MARK: members

  /// Has the container be granted its limits by its application, as before its first instruction.
  private static func join(
    _ state: ContainerState, _ membership: ApplicationMembership, _ nonce: UInt64,
    _ root: StateRoot
  ) throws(ReleaseError) {
    var state = state
    // A group that cannot be found now has ended, which the next step says.
    if let location = try? ContainerCgroup(of: state).outermost {
      state.findLimits(above: location, isFound: false, root)
    }
    var record = MemberRecord(nonce: nonce, priority: membership.priority, cpu: state.base.share)
    record.memory = try memoryShare(of: state)
    // What an annotation says of the whole application counts from a newcomer only, and from who
    // brings the application back.
    var membership = membership
    let room = ApplicationDirectory.ifThere(root.applications + "/" + membership.room)
    if room?.nonces.isEmpty == false { (membership.cpu, membership.memory) = (nil, nil) }
    membership.isNoChange = false
    let outcome: InitialAllocation.Outcome
    do throws(SystemError) {
      // Lower first: what is granted on top of it has been free.
      try set(cpu: record.cpu.floor, memory: record.memory?.floor, of: state, isLess: true)
      outcome = try InitialAllocation.obtain(
        record, membership, most: (state.base.limit, state.memory?.limit ?? .max), root)
      if case .granted(let cpu, let memory) = outcome {
        return try set(cpu: cpu, memory: memory, of: state)
      }
    } catch {
      guard error.errno == EBUSY else { throw .system(error) }
      throw .noRoom("it uses \(state.memoryUse) bytes of memory, and more than its limit would be")
    }
    if case .refused(let why) = outcome { throw .noRoom(reason(why)) }
  }

  /// What it needs of memory at the least is what it uses, and some to go on with: cgroup v2 wants
  /// room above the line to lower a limit at all.
  private static func memoryShare(
    of state: ContainerState
  ) throws(ReleaseError) -> MemberRecord.Share? {
    guard var share = state.memory?.share() else { return nil }
    let use = state.memoryUse
    let least = MemoryHigh.limit(over: use + max(use / 16, 4 << 20))
    share.floor = min(max(share.floor, least), share.ceiling)
    guard use < share.ceiling else {
      throw .noRoom(
        "it uses \(use) bytes of memory, and may have no more than \(share.ceiling) as a member")
    }
    return share
  }

  /// Writes limits, in nanocores and bytes; where they shall be less, only those that are more.
  private static func set(
    cpu: Int64, memory: Int64?, of state: ContainerState, isLess: Bool = false
  ) throws(SystemError) {
    var writer = try state.cpuWriter()
    let found = try writer.current()
    let quota = state.base.quota(ofCores: cpu)
    if !isLess || quota < state.base.quota(of: found) {
      try writer.set(state.base.limit(of: quota), from: found)
    }
    guard let memory, let base = state.memory, let files = try state.memoryWriter() else { return }
    if isLess, try files.current() <= memory { return }
    try files.set(memory, swap: base.memorySwap(at: memory)) { () throws(SystemError) in
      state.memoryUse
    }
    try files.set(line: nil)
  }

  private static func reason(_ why: NoPlace) -> String {
    switch why {
    case .refused(let resource, .minima, _):
      "its members need so much at the least that too little of \(name(resource)) is left; "
        + "give it more by escra app set"
    case .noShare(let resource, _):
      "its members need so much at the least that too little of this node's \(name(resource)) is left, "
        + "and escra-agent brought no more within 1 s; give it more by escra app set"
    case .full(let resource):
      "its members use all of its \(name(resource)); give it more by escra app set, or try again"
    case .taken: "its directory is another application's"
    case .refused, .silence: "its broker did not answer in time; try again"
    }
  }

  private static func name(_ resource: SharedResource) -> String {
    resource == .cpu ? "CPU" : "memory"
  }
}
