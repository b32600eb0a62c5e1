// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// How often a supervisor may look at its container's CPU time, whatever wakes it.
///
/// Each look may end in a write. At a period of 1 ms a container can ask for a thousand a second, and
/// each costs a tenth of a millisecond. A bucket: a burst at once, and in the long run one look per
/// interval, which is at least sixteen a period of 100 ms: as often as anything is raised there.
package struct LookBudget: Sendable {
  private let interval: Nanoseconds
  /// When the bucket is full again.
  private var full: Nanoseconds = .min / 2

  /// Looks that may follow each other at once.
  static let burst: Nanoseconds = 100

  /// A full bucket.
  package init(period: Nanoseconds) { interval = period < 100_000_000 ? 10_000_000 : 5_000_000 }

  /// From when on there may be another look.
  package var next: Nanoseconds { full - (Self.burst - 1) * interval }

  /// Takes note of a look.
  package mutating func take(at now: Nanoseconds) { full = max(full, now) + interval }
}
