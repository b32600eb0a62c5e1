// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities

/// Waits for a lock, for a bounded time.
///
/// flock(2) and fcntl(2) cannot be told how long to wait, so the caller asks again and again:
///
///     let wait = LockWait(for: patience)
///     while try !file.lock(wait: false) { guard wait.pause() else { throw … } }
package struct LockWait: Sendable {
  private let deadline: Nanoseconds
  private let pauseMilliseconds: Int32

  /// Begins to wait.
  ///
  /// - Parameters:
  ///   - patience: For how long.
  ///   - pauseMilliseconds: The time between two questions.
  package init(for patience: Nanoseconds, every pauseMilliseconds: Int32 = 2) {
    deadline = monotonicNow() + patience
    self.pauseMilliseconds = pauseMilliseconds
  }

  /// Sleeps until the next question is due.
  ///
  /// By poll(2), the one call of this kind that a confined supervisor may make.
  ///
  /// - Returns: false, at once, if the time is over.
  package func pause() -> Bool {
    guard monotonicNow() < deadline else { return false }
    _ = poll(nil, 0, pauseMilliseconds)
    return true
  }
}
