// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Tells what somebody else's write of a limit means.
///
/// Others write limits too: runc all that it knows on any update, systemd all that a scope has
/// after a reload, kubelet and people because they mean it. A value that its writer had before is
/// drift, and is written over, at most once a second; one that is new is news, and becomes the
/// base.
package struct ExternalWrites: Sendable {
  /// What a value means.
  package enum Verdict: Equatable, Sendable {
    /// It is what we wrote.
    case ours
    /// An old value came back: write ours again, but not before this moment.
    case drift(notBefore: Nanoseconds)
    /// Somebody wants something else.
    case news
  }

  /// Who has written, as far as is known; several may have since the last look.
  package struct Writers: OptionSet, Sendable {
    /// A bit for each kind.
    package let rawValue: UInt8
    /// Makes a set of bits.
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Process 1: it writes what the container's scope has, whenever it looks at that.
    package static let serviceManager = Writers(rawValue: 1)
    /// A low-level runtime: it writes what it was told last, and what it is told now.
    package static let runtime = Writers(rawValue: 2)
    /// Anybody else, who has no memory and means it.
    package static let other = Writers(rawValue: 4)
    /// Nobody knows: it may have been any of them.
    package static let unknown: Writers = []
  }

  /// What the kernel should hold: our last write.
  package private(set) var ours: CPUQuota
  /// The base: what was declared last, at create, by an update or by news.
  private var declared: CPUQuota
  /// What the low-level runtime was told to write last.
  private var told: CPUQuota
  /// What the container's scope has, where there is one.
  private var unit: CPUQuota
  /// Whether the group is ours: a write of another process declares nothing.
  private let isOurGroup: Bool
  private var lastCorrection: Nanoseconds = .min / 2
  private var nextCorrection: Nanoseconds?

  /// The shortest time between two corrections: nothing is fought in a loop.
  package static let correctionInterval: Nanoseconds = 1_000_000_000
  /// The same where the group is ours: the sum of an application's limits does not wait for longer.
  package static let shortInterval: Nanoseconds = 50_000_000
  /// From the first sight of drift to its correction: who applies old values applies several, and
  /// each write of a quota is a full refill.
  static let correctionDelay: Nanoseconds = 50_000_000

  /// Starts with what the kernel holds, what was declared and what the runtime was told.
  ///
  /// - Parameters:
  ///   - ours: What the kernel holds.
  ///   - declared: What was declared.
  ///   - told: What the low-level runtime was told.
  ///   - isOurGroup: Whether the group is one around the container's own, whose limit is ours.
  package init(
    ours: CPUQuota, declared: CPUQuota, told: CPUQuota? = nil, isOurGroup: Bool = false
  ) {
    self.ours = ours
    self.isOurGroup = isOurGroup
    self.declared = declared
    self.told = told ?? declared
    unit = self.told.asUnitProperty
  }

  /// Takes note of a write of ours.
  package mutating func wrote(_ limit: CPUQuota) { ours = limit }

  /// Takes note of a declared value, and of what an update has written for it.
  ///
  /// - Parameters:
  ///   - declared: The new declared limit.
  ///   - applied: What the low-level runtime was told to write.
  package mutating func declared(_ declared: CPUQuota, told applied: CPUQuota) {
    self.declared = declared
    told = applied
    unit = applied.asUnitProperty
  }

  /// Takes note of a declared value that nobody announced, and of who wrote it.
  package mutating func learned(_ declared: CPUQuota, from writers: Writers = .unknown) {
    self.declared = declared
    // Who is unknown may have changed either; the other one's old value stays an old value.
    if writers.contains(.serviceManager) { unit = declared }
    if writers.contains(.runtime) {
      told = declared
      unit = declared.asUnitProperty
    }
  }

  /// Judges what the kernel holds now.
  ///
  /// - Parameters:
  ///   - found: The value that was read.
  ///   - writers: Who has written since the last look, ourselves left out.
  ///   - now: The time.
  /// - Returns: What to make of it.
  package mutating func judge(
    _ found: CPUQuota, by writers: Writers = .unknown, at now: Nanoseconds
  ) -> Verdict {
    if found == ours {
      nextCorrection = nil
      return .ours
    }
    guard isOld(found, by: writers) else {
      nextCorrection = nil
      return .news
    }
    let moment =
      nextCorrection
      ?? (isOurGroup
        ? max(now, lastCorrection + Self.shortInterval)
        : max(now + Self.correctionDelay, lastCorrection + Self.correctionInterval))
    nextCorrection = moment
    return .drift(notBefore: moment)
  }

  /// Whether each of the writers had this value before.
  private func isOld(_ found: CPUQuota, by writers: Writers) -> Bool {
    if found == declared || isOurGroup { return true }
    if writers.contains(.other) { return false }
    let isUnits = found == unit || found == declared.asUnitProperty
    switch (writers.contains(.serviceManager), writers.contains(.runtime)) {
    case (true, false): return isUnits
    case (false, true): return found == told
    // A runtime that has told a service manager writes behind it, and tells it the same.
    case (true, true): return isUnits || (found == told && told.asUnitProperty == unit)
    case (false, false): return isUnits || found == told
    }
  }

  /// Takes note that drift was written over.
  package mutating func corrected(at now: Nanoseconds) {
    lastCorrection = now
    nextCorrection = nil
  }
}
