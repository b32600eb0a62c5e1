// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Judges a write of another process over a limit that we set: one rule for CPU, memory and sets
/// of CPUs.
///
/// Other processes write limits too: runc all that it knows on any update, systemd all that a scope
/// has after a reload, kubelet and people because they mean it. A value that its writer had before
/// is written over, at most once an interval. A new one is what the container declares from then on.
/// In a group of ours no other process declares anything.
package struct WriteJudge: Sendable {
  /// What a value means.
  package enum Verdict: Equatable, Sendable {
    /// It is what we wrote.
    case ours
    /// An old value came back: write ours again, but not before this moment.
    case overwritten(notBefore: Nanoseconds)
    /// Another process wants something else.
    case declared
  }

  /// Whether the group is ours: a write of another process declares nothing.
  private let isOurGroup: Bool
  private let delay: Nanoseconds
  private var lastCorrection: Nanoseconds = .min / 2
  private var due: Nanoseconds?

  /// The shortest time between two corrections: nothing is fought in a loop.
  private static let interval: Nanoseconds = 1_000_000_000
  /// The same if the group is ours: the sum of an application's limits does not wait for longer.
  private static let shortInterval: Nanoseconds = 50_000_000

  /// Makes a judge that has seen nothing.
  ///
  /// - Parameters:
  ///   - isOurGroup: Whether the group is one around the container's own, whose limit is ours.
  ///   - delay: From the first sight of an old value to its correction: a process that applies old
  ///     values applies several. None in a group of ours.
  package init(isOurGroup: Bool, delay: Nanoseconds = 0) {
    self.isOurGroup = isOurGroup
    self.delay = isOurGroup ? 0 : delay
  }

  /// Judges a value.
  ///
  /// - Parameters:
  ///   - isOurs: Whether it is what we wrote.
  ///   - isOld: Whether its writer had it before.
  ///   - now: The time.
  /// - Returns: What to make of it.
  package mutating func judge(isOurs: Bool, isOld: Bool, at now: Nanoseconds) -> Verdict {
    if isOurs || !(isOld || isOurGroup) {
      due = nil
      return isOurs ? .ours : .declared
    }
    let moment = due ?? max(now + delay, next)
    due = moment
    return .overwritten(notBefore: moment)
  }

  /// When the next correction may be made.
  package var next: Nanoseconds {
    lastCorrection + (isOurGroup ? Self.shortInterval : Self.interval)
  }

  /// Takes note that another process's value was written over.
  package mutating func corrected(at now: Nanoseconds) {
    lastCorrection = now
    due = nil
  }
}
