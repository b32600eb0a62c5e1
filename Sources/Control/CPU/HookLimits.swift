// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What of a container's use is told; of the CPU in nanoseconds a period.
package struct HookLimits: Equatable, Sendable {
  /// At or below this quota it rests.
  package var floor: Nanoseconds
  /// What it may use in a period while it rests before that is news.
  package var quiet: Nanoseconds
  /// When less than this is left, or less than half of the quota, it is told.
  package var margin: Nanoseconds
  /// When its use of memory is nearer to memory.high than this, it is told; in bytes, 0 where that
  /// is not minded.
  package var near: Int64

  /// Makes limits.
  package init(floor: Nanoseconds, quiet: Nanoseconds, margin: Nanoseconds, near: Int64 = 0) {
    self.floor = floor
    self.quiet = quiet
    self.margin = margin
    self.near = near
  }
}
