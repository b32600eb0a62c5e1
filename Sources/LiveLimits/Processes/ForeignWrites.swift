// SPDX-License-Identifier: Apache-2.0
public import Syscalls

/// Tells what somebody else's write of a limit means.
///
/// Others write limits too: runc rewrites all of them on any update, systemd after a reload,
/// kubelet and people because they mean it. What was known before is drift, and is written over,
/// at most once a second; what is new is news, and becomes the base.
public struct ForeignWrites: Sendable {
  /// What a value means.
  public enum Verdict: Equatable, Sendable {
    /// It is what we wrote.
    case ours
    /// It is what an update was told to write.
    case expected
    /// An old value came back: write ours again, but not before this moment.
    case drift(notBefore: Nanoseconds)
    /// Somebody wants something else.
    case news
  }

  /// What the kernel should hold: our last write.
  public private(set) var ours: CPUQuota
  /// What was declared, at create and by updates: others write such values without a meaning.
  ///
  /// The last few are enough.
  private var known: [CPUQuota]
  private var expected: (limit: CPUQuota, until: Nanoseconds)?
  private var lastCorrection: Nanoseconds = .min / 2

  /// The shortest time between two corrections: nothing is fought in a loop.
  static let correctionInterval: Nanoseconds = 1_000_000_000

  /// Starts with what the kernel holds and what was declared.
  public init(ours: CPUQuota, declared: CPUQuota) {
    self.ours = ours
    known = [declared]
  }

  /// Takes note of a write of ours.
  public mutating func wrote(_ limit: CPUQuota) { ours = limit }

  /// How long an update may take from our answer to its write; one that failed never writes.
  static let expectation: Nanoseconds = 5_000_000_000

  /// Takes note of a declared value, and of what an update will write for it.
  ///
  /// - Parameters:
  ///   - declared: The new declared limit.
  ///   - applied: What the low-level runtime was told to write.
  ///   - now: The time.
  public mutating func declared(
    _ declared: CPUQuota, expecting applied: CPUQuota, at now: Nanoseconds
  ) {
    expected = (applied, now + Self.expectation)
    remember(declared)
    remember(applied)
  }

  /// Takes note of a declared value that nobody announced.
  public mutating func learned(_ declared: CPUQuota) { remember(declared) }

  private mutating func remember(_ limit: CPUQuota) {
    if known.contains(limit) { return }
    known.append(limit)
    if known.count > 8 { known.removeFirst() }
  }

  /// Judges what the kernel holds now.
  ///
  /// - Parameters:
  ///   - found: The value that was read.
  ///   - now: The time.
  /// - Returns: What to make of it.
  public mutating func judge(_ found: CPUQuota, at now: Nanoseconds) -> Verdict {
    if let awaited = expected, found == awaited.limit, now <= awaited.until {
      expected = nil
      ours = found
      return .expected
    }
    if found == ours { return .ours }
    guard known.contains(found) else { return .news }
    return .drift(notBefore: max(now, lastCorrection + Self.correctionInterval))
  }

  /// Takes note that drift was written over.
  public mutating func corrected(at now: Nanoseconds) { lastCorrection = now }
}
