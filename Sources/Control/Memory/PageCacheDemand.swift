// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// What memory.stat says of a group's page cache, in bytes.
package struct PageCache: Equatable, Sendable {
  /// Pages that were read once, inactive_file.
  package var inactive: Int64
  /// Pages that were read again, active_file.
  package var active: Int64
  /// Pages that were read again after the kernel had dropped them, counted since the group was made:
  /// workingset_refault_file (mm/workingset.c).
  package var refaulted: Int64

  /// Makes a reading.
  package init(inactive: Int64, active: Int64 = 0, refaulted: Int64 = 0) {
    self.inactive = inactive
    self.active = active
    self.refaulted = refaulted
  }
}

/// How much page cache a container needs, as its refaults say.
///
/// A refault is a page that a larger limit would have kept. So a container that fills its limit and
/// has refaults gets as much page cache again as it has, and while it has refaults no cache is taken
/// from it. A file that is larger than all that there is has refaults at any limit: after ``mostTries``
/// raises, or at the ceiling, they are no reason to raise any more for a while, and if the kernel holds
/// most of the cache for read once, what it got is given back: ``worth(at:)``.
package struct PageCacheDemand: Sendable {
  /// The least raise, 16 MiB.
  static let leastRaise: Int64 = 16 << 20
  /// The refaults that count: 1 MiB, or a sixty-fourth of the limit, within about a second.
  static let leastEvidence: Int64 = 1 << 20
  private static let evidencePart: Int64 = 64
  /// How many raises may follow each other without an end of the refaults.
  package static let mostTries = 10
  /// For how long page cache is kept that nothing is known of: 10 s.
  static let leastPatience: Nanoseconds = 10_000_000_000
  private static let longestPatience: Nanoseconds = 600_000_000_000
  /// For how long refaults are no reason to raise after the tries were in vain: 1 min, doubled up to
  /// 1 h.
  static let leastPause: Nanoseconds = 60_000_000_000
  private static let longestPause: Nanoseconds = 3_600_000_000_000
  /// Less page cache than this is not kept: 8 MiB.
  private static let leastKept: Int64 = 8 << 20

  /// What had been refaulted at the last reading.
  private var last: Int64?
  /// Recent refaults in bytes, halved each second.
  private var evidence: Int64 = 0
  private var halved: Nanoseconds = 0
  /// The page cache that counts as need, in bytes.
  private(set) var kept: Int64 = .max
  /// When half of ``kept`` is given back.
  private(set) var keptUntil: Nanoseconds = .min
  private var patience = PageCacheDemand.leastPatience
  private var hasReleased = false
  private var tries = 0
  private var lastTry: Nanoseconds = .min / 2
  /// The limit before the first of the tries.
  private var start: Int64 = 0
  private var pausedUntil: Nanoseconds = .min
  private var wasInVain = false
  private var pause = PageCacheDemand.leastPause

  /// Takes a reading of the page cache.
  ///
  /// - Parameters:
  ///   - cache: The reading.
  ///   - limit: The limit in force, in bytes.
  ///   - ceiling: The most that it may become.
  ///   - isFull: Whether the group uses all of its limit.
  ///   - now: When it was read.
  /// - Returns: By how many bytes the limit is to be raised; nil for not at all.
  mutating func observe(
    _ cache: PageCache, limit: Int64, ceiling: Int64, isFull: Bool, at now: Nanoseconds
  ) -> Int64? {
    defer { last = cache.refaulted }
    guard let last else {
      keptUntil = now + patience
      return nil
    }
    let seconds = (now - halved) / 1_000_000_000
    if seconds > 0 {
      evidence >>= min(62, seconds)
      halved = now
    }
    evidence += max(0, cache.refaulted - last)
    if now - lastTry >= Self.leastPatience, tries > 0 {
      // The last raise was enough.
      tries = 0
      pause = Self.leastPause
    }
    guard evidence >= max(Self.leastEvidence, limit / Self.evidencePart) else { return nil }
    keep(from: now)
    guard isFull, now >= pausedUntil else { return nil }
    let raise = max(Self.leastRaise, max(cache.inactive + cache.active, 2 * evidence))
    evidence = 0
    lastTry = now
    if tries == 0 { start = limit }
    if limit < ceiling, tries < Self.mostTries {
      tries += 1
      return raise
    }
    wasInVain = cache.inactive > cache.active
    pausedUntil = now + pause
    pause = min(Self.longestPause, 2 * pause)
    tries = 0
    return nil
  }

  /// The limit that page cache is worth, in bytes: what there was before raises that were in vain; nil
  /// for any.
  func worth(at now: Nanoseconds) -> Int64? { wasInVain && now < pausedUntil ? start : nil }

  /// Nothing is taken from it while it has refaults, and after what was regretted for longer.
  private mutating func keep(from now: Nanoseconds) {
    kept = .max
    keptUntil = now + patience
    if hasReleased {
      hasReleased = false
      patience = min(Self.longestPatience, 2 * patience)
    }
  }

  /// Gives up half of what is kept, where it was kept for long enough without a refault.
  mutating func release(_ inactive: Int64, at now: Nanoseconds) {
    guard kept > 0, now >= keptUntil else { return }
    let half = min(kept, inactive) / 2
    kept = half < Self.leastKept ? 0 : half
    keptUntil = now + patience
    hasReleased = true
    // All of it is given back, and none of it was regretted.
    if kept == 0 { patience = max(Self.leastPatience, patience / 2) }
  }
}
