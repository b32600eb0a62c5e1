// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// How often an instance's supervisor has died in a row, and what the keeper does about it.
///
/// The keeper looks at all instances at each call. That one still has no supervisor is no crash:
/// only what was tried counts, or one that others call often would not be tried again.
struct RestartBackoff: Sendable {
  /// What becomes of an instance without a supervisor.
  enum Verdict: Equatable {
    /// Another supervisor is started.
    case start
    /// Nothing is, for so many nanoseconds.
    case rest(Nanoseconds)
    /// The same, and this is when they have crashed too often.
    case hopeless(Nanoseconds)
  }

  /// Crashes in a row after which a container is given back its declared limit.
  static let tooMany = 3
  /// A supervisor that has lived this long has not crashed in a row.
  static let soundAfter: Nanoseconds = 10_000_000_000
  /// For how long nothing is tried where there was no process to be had: a machine has that for a
  /// moment in which it starts many, and then all of them call.
  static let retryAfter: Nanoseconds = 1_000_000_000

  private var count = 0
  /// When a supervisor was started last.
  private var last: Nanoseconds = 0
  /// Until when none is.
  private var restsUntil: Nanoseconds = 0

  /// Decides about an instance that was found without a supervisor.
  mutating func verdict(at now: Nanoseconds) -> Verdict {
    if now < restsUntil { return .rest(restsUntil - now) }
    count = now - last < Self.soundAfter ? count + 1 : 1
    guard count >= Self.tooMany else {
      last = now
      return .start
    }
    restsUntil = last + Self.soundAfter
    return .hopeless(restsUntil - now)
  }

  /// None could be started, which counts as much as one that dies at once.
  mutating func couldNotStart(at now: Nanoseconds) { restsUntil = now + Self.retryAfter }
}
