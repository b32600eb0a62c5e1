// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// An update of a strict container's CPUs, on its way through the low-level runtime.
///
/// What is asked for is taken before the runtime writes it and the rest given back after, so that
/// at no instant the container runs on CPUs that are not its own. The container's supervisor ends
/// it: when the runtime has written, or has not for five seconds.
public enum StrictUpdate {
  /// Takes the CPUs that an update asks for.
  ///
  /// - Parameters:
  ///   - request: What it asks for.
  ///   - reserved: The operator's CPUs that are given to nobody.
  ///   - directory: The container's instance.
  ///   - root: Whose registry.
  /// - Returns: The CPUs that the low-level runtime is to write.
  /// - Throws: ``CPUClaimError``, or ``SystemError`` for a registry that cannot be had.
  public static func begin(
    _ request: CPUAllocator.Request, reserved: CPUSet, of directory: borrowing StateDirectory,
    root: StateRoot
  ) throws -> CPUSet {
    let registry = try CPURegistry(locking: root, within: 1000)
    guard var state = directory.load(), let claim = state.claim else {
      throw SystemError("read", directory.path, errno: 0)
    }
    let granted = try registry.grant(
      request, below: claim.group ?? "/", reserved: reserved, memory: nil,
      holders: registry.holders(except: state), current: claim.held)
    if granted.held == claim.held { return granted.held }
    state.claim?.held = claim.held.union(granted.held)
    state.claim?.target = granted.held
    try directory.save(state)
    try CPUFence(root: root).settle(registry)
    return granted.held
  }
}
