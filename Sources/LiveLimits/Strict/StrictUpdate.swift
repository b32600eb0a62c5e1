// SPDX-License-Identifier: Apache-2.0
package import CPUSets
package import Quantities
package import State
internal import Syscalls

/// A change of the CPUs that a strict container has, before the low-level runtime is told of it.
///
/// What is new is fenced before the container runs there, and what it leaves is given back after, so
/// that it shares no CPU at any instant. The runtime then writes what is there already. Should it
/// fail and write the old set again, the container's supervisor takes that for what it is.
package enum StrictUpdate {
  /// Gives the container other CPUs.
  ///
  /// - Parameters:
  ///   - changes: What is asked for; a part that is nil stays as it was.
  ///   - earlier: What it had before an update that the runtime has refused, and has again.
  ///   - reserved: The operator's CPUs that no container is given.
  ///   - directory: The container's instance.
  ///   - root: Whose registry.
  /// - Returns: The CPUs it has now.
  /// - Throws: ``CPUGrantError``, or ``SystemError`` for a registry or a group that cannot be
  ///   written; EBUSY when groups inside the container have CPUs that it would lose.
  package static func carryOut(
    _ changes: CPURequest = CPURequest(), restoring earlier: CPUAllocation? = nil,
    reserved: CPUSet, of directory: borrowing StateDirectory, root: StateRoot
  ) throws -> CPUSet {
    let registry = try CPURegistry(locking: root)
    guard var state = directory.load(), let before = state.claim, state.phase == .running else {
      throw StrictUpdateError.starting
    }
    let asked =
      earlier?.asked
      ?? CPURequest(
        count: changes.count ?? before.asked.count, set: changes.set ?? before.asked.set)
    let others = registry.holders(except: state)
    let after = try registry.grant(
      earlier.map { CPURequest(set: $0.held) } ?? asked, group: before.group,
      reserved: reserved, memory: nil, holders: others,
      current: before.held
    ).held
    state.claim?.asked = asked

    let fence = try CPUFence(root: root)
    func hold(_ cpus: CPUSet) throws(SystemError) {
      state.claim?.held = cpus
      try directory.save(state)
      try fence.settle(registry)
    }
    // With two CPUs there is no room for both sets; then one moves right after the other.
    let both = before.held.union(after)
    if fence.leavesShared(both, besides: others) { try hold(both) }
    do throws(SystemError) {
      try state.setCPUs(after, in: fence.tree)
    } catch {
      state.claim?.asked = before.asked
      try hold(before.held)
      throw error
    }
    try hold(after)
    return after
  }
}

/// Why a strict container's CPUs cannot be changed now.
enum StrictUpdateError: Error, CustomStringConvertible {
  /// It has no group yet.
  case starting

  var description: String { "the container is still being created; update it when it runs" }
}
