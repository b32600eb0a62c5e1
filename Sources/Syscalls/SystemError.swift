// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// A system call that failed: what was attempted, on what, and the errno.
///
/// Its description names the errno symbolically ("cannot open /x (ENOENT)") and never spells it
/// out: callers of an OCI runtime match phrases like "no such file or directory" in its messages
/// and map them to exit codes that would be wrong here (Podman: 126 and 127).
package struct SystemError: Error, Equatable, CustomStringConvertible, Sendable {
  /// What was attempted, as a verb: "open", "rename", "lock".
  package let step: String
  /// What it was attempted on: a path, or a name for what has none.
  package let subject: String
  /// The errno of the failed call.
  package let errno: CInt

  /// Makes an error from its parts.
  package init(_ step: String, _ subject: String, errno: CInt) {
    self.step = step
    self.subject = subject
    self.errno = errno
  }

  /// Makes an error from the errno that the last failed call left behind.
  package static func last(_ step: String, _ subject: String) -> SystemError {
    SystemError(step, subject, errno: Glibc.errno)
  }

  /// The symbol of ``errno`` ("ENOENT"), or its number where glibc knows no name.
  package var symbol: String {
    guard let name = escra_errno_name(errno) else { return String(errno) }
    return String(cString: name)
  }

  /// One clause: the step, the subject, the symbol.
  package var description: String { "cannot \(step) \(subject) (\(symbol))" }
}

/// Calls `body` until it does anything but fail with EINTR, and turns -1 into an error.
///
/// Every system call of this project that can be interrupted goes through here.
///
/// - Parameters:
///   - step: What is attempted, for the error.
///   - subject: What it is attempted on, for the error.
///   - body: The system call; returns -1 and sets errno on failure.
/// - Returns: What the call returned.
/// - Throws: ``SystemError`` with the call's errno.
@discardableResult
package func retrying(
  _ step: @autoclosure () -> String, _ subject: @autoclosure () -> String, _ body: () -> Int32
) throws(SystemError) -> Int32 {
  try retryingAny(step(), subject(), body)
}

/// As the other one, for calls that return an `ssize_t`.
///
/// Two, and no generic one in another module: what a generic one looks up at run time stays in memory,
/// in every supervisor.
@discardableResult
package func retrying(
  _ step: @autoclosure () -> String, _ subject: @autoclosure () -> String, _ body: () -> Int
) throws(SystemError) -> Int {
  try retryingAny(step(), subject(), body)
}

@inline(__always)
private func retryingAny<Result: FixedWidthInteger & SignedInteger>(
  _ step: @autoclosure () -> String, _ subject: @autoclosure () -> String, _ body: () -> Result
) throws(SystemError) -> Result {
  while true {
    let result = body()
    if result != -1 { return result }
    if Glibc.errno != EINTR { throw SystemError.last(step(), subject()) }
  }
}
