// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

extension OuterGroupDirectory {
  /// Has systemd make the group, and waits until it is there.
  func start(
    _ slice: String, for id: String, _ limits: FirstLimits, within milliseconds: Int32
  ) throws(SystemError) {
    // A slice left by a container of this id has nothing in it.
    for _ in 0..<2 {
      guard var request = ScopeRequest(starting: slice, for: id, limits) else {
        throw SystemError("ask systemd for", slice, errno: ECONNREFUSED)
      }
      switch request.answer(within: milliseconds) {
      case .granted: return
      case .pending: throw SystemError("wait for systemd to start", slice, errno: ETIMEDOUT)
      case .refused, .unknown: Self.stop(slice, within: milliseconds)
      }
    }
    throw SystemError(Self.startStep, slice, errno: EEXIST)
  }

  /// - Returns: Whether there is no such slice any more.
  @discardableResult
  static func stop(_ slice: String, within milliseconds: Int32) -> Bool {
    guard var request = ScopeRequest(stopping: slice) else { return false }
    let outcome = request.answer(within: milliseconds)
    return outcome == .granted || outcome == .unknown
  }
}
