// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
package import State
package import Syscalls

/// The way out: a container is given back to the low-level runtime alone, and runs on.
///
/// Decided by a mark in its instance, done by the process that has the instance's lock. That is the
/// operator's tool, which ends the supervisor and takes its lock, or the keeper, should the tool
/// have died meanwhile. Each step may be done twice. A supervisor is ended by SIGKILL, whether it
/// would answer or not: it is made for that, it writes nothing behind its end, and what one that
/// was stopped holds comes back the same way.
package enum Release {
  /// For how long a supervisor that was killed may take to be gone.
  private static let patience: Nanoseconds = 5_000_000_000

  /// Releases a container.
  ///
  /// - Parameters:
  ///   - directory: Its instance; the lock is the caller's from here on.
  ///   - root: Where states are.
  /// - Returns: What it has now.
  /// - Throws: ``ReleaseError``; what was begun is finished at the next look.
  package static func release(
    _ directory: borrowing StateDirectory, _ root: StateRoot
  ) throws(ReleaseError) -> LimitsInForce {
    guard let before = directory.load(), !before.isOver else { throw .ended }
    guard before.phase == .running else { throw .starting }
    if directory.releaseStage == .done { return LimitsInForce(of: before) }
    do throws(SystemError) { try directory.mark(.asked) } catch { throw .system(error) }
    guard takeLock(of: directory) else { throw directory.isThere ? .held : .ended }
    // It may have written until it was gone.
    guard let state = directory.load(), !state.isOver else { throw .ended }
    do throws(SystemError) {
      return try finish(state, directory, root)
    } catch { throw .system(error) }
  }

  /// Gives back what is left to give back, and says that it is done.
  ///
  /// - Parameters:
  ///   - state: The container.
  ///   - directory: Its instance; its lock is the caller's, so no supervisor lives.
  ///   - root: Where states and applications are.
  /// - Returns: What it has now.
  /// - Throws: ``SystemError`` where others cannot be let back on its CPUs, or the mark cannot be
  ///   written.
  @discardableResult
  static func finish(
    _ state: ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) throws(SystemError) -> LimitsInForce {
    if let membership = state.membership {
      lower(state)
      InitialAllocation.leave(membership, directory.nonce, root)
    }
    state.giveBackLimits()
    ParentRegistry.sweep(root, leaver: directory.nonce)
    if state.claim != nil { try CPUFence(root: root).share(directory) }
    try directory.mark(.done)
    return LimitsInForce(of: state)
  }

  /// Has a container that was released, and whose own group has a group of ours around it, have the
  /// limits that an update has written: they are the declared ones from then on.
  package static func followUpdate(_ directory: borrowing StateDirectory) {
    guard var state = directory.load(), let cpu = try? state.cpuWriter(readOnly: true) else {
      return
    }
    // Not raised: that is for a supervisor, once it is adopted.
    let refused = SystemError("raise", "a released container's limit", errno: EPERM)
    if state.claim != nil, let found = try? cpu.current() { state.base.declared = found }
    // What cannot be read has ended with its group.
    if let found = (try? cpu.inner()) ?? nil {
      _ = state.base.takeInner(found) { (_) throws(SystemError) in throw refused }
    }
    // The same.
    if let files = try? state.memoryWriter(readOnly: true),
      let found = (try? files.inner()) ?? nil
    {
      _ = state.memory?.takeInner(found) { (_) throws(SystemError) in throw refused }
    }
    // Not saved, the limits are followed again at the next update.
    try? directory.save(state)
    state.giveBackLimits()
  }

  /// The giver lowers before the taker raises: no member leaves an application with more than it is
  /// going to have on its own.
  private static func lower(_ state: ContainerState) {
    if var writer = try? state.cpuWriter(), let found = try? writer.current(),
      state.base.quota(of: state.base.declared) < state.base.quota(of: found)
    {
      // A group that is gone holds nothing; another error leaves less than is declared.
      try? writer.set(state.base.declared, from: found)
    }
    if let memory = state.memory, let path = state.memoryDirectory, let version = state.version,
      let found = LimitsInForce(of: state).memory,
      memory.declared ?? MemoryLimit.unlimited < found
    {
      FoundMemory.giveBack(
        memory, path, version, named: state.cgroupName, around: state.memoryInner(in: path))
    }
  }

  /// Becomes the holder of an instance's lock, and ends its supervisor.
  ///
  /// - Returns: Whether it is ours.
  private static func takeLock(of directory: borrowing StateDirectory) -> Bool {
    let wait = LockWait(for: patience)
    while !directory.claim() {
      guard directory.isThere else { return false }
      // Adopted meanwhile, it has another supervisor, and the keeper is not to take what follows for
      // a crash. Who marks while the lock is held marks what its holder cannot unmark.
      if directory.releaseStage == nil { try? directory.mark(.asked) }
      // The keeper has the lock for a moment when it looks; and a supervisor that was just started
      // listens in a moment.
      if let pid = supervisor(of: directory) { _ = RegistryLock.evict(pid) }
      guard wait.pause() else { return false }
    }
    return true
  }

  /// Who listens in an instance: unix(7), SO_PEERCRED; stopped or not.
  private static func supervisor(of directory: borrowing StateDirectory) -> Int32? {
    guard let number = (try? directory.connect())?.release() else { return nil }
    return ApplicationSocket(owning: FileDescriptor(owning: number)).peer?.pid
  }
}

/// Why a container cannot be released, or adopted.
package enum ReleaseError: Error, Equatable, CustomStringConvertible {
  /// It has no group yet.
  case starting
  /// It is gone, or about to be.
  case ended
  /// Another process keeps the instance's lock.
  case held
  /// Its cgroup has another container, which is supervised: why, as a clause.
  case owned(String)
  /// It has a supervisor already, or a group of ours around its own: its policy.
  case known(String)
  /// Its application has no room for it: why, as a clause.
  case noRoom(String)
  /// What failed.
  case system(SystemError)

  /// What happened, and what to do, as a clause that follows the container's id.
  package var description: String {
    switch self {
    case .starting: "is still being created; try again when it runs"
    case .ended: "has ended; there is nothing left to do"
    case .held: "is held by a process that does not end within 5 s; try again"
    case .owned(let reason): "stays unsupervised: \(reason)"
    case .known(let policy):
      "is under the policy \(policy) already; release it first, or adopt it without --policy"
    case .noRoom(let reason): "finds no room in its application: \(reason)"
    case .system(let error): "could not be given all that is its own: \(error); try again"
    }
  }
}
