// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The CPU limits that other processes know, to judge what they write.
///
/// Each has its own old value: the low-level runtime what it was told, systemd what the scope has.
package struct ExternalWrites: Sendable {
  /// What a value means.
  package typealias Verdict = WriteJudge.Verdict

  /// The processes that have written, as far as is known; several may have since the last look.
  package struct Writers: OptionSet, Sendable {
    /// A bit for each kind.
    package let rawValue: UInt8
    /// Makes a set of bits.
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Process 1: it writes what the container's scope has, whenever it looks at that.
    package static let serviceManager = Writers(rawValue: 1)
    /// A low-level runtime: it writes what it was told last, and what it is told now.
    package static let runtime = Writers(rawValue: 2)
    /// Any other process, which has no memory and means it.
    package static let other = Writers(rawValue: 4)
    /// Not known: it may have been any of them.
    package static let unknown: Writers = []
  }

  /// What the kernel should hold: our last write.
  package private(set) var ours: CFSBandwidth
  /// The base: what was declared last, at create, by an update or by news.
  private var declared: CFSBandwidth
  /// What the low-level runtime was told to write last.
  private var told: CFSBandwidth
  /// What the container's scope has, where there is one.
  private var unit: CFSBandwidth
  private var rule: WriteJudge

  /// From the first sight of an old value to its correction: each write of a quota is a full refill.
  private static let delay: Nanoseconds = 50_000_000

  /// Starts with what the kernel holds, what was declared and what the runtime was told.
  ///
  /// - Parameters:
  ///   - ours: What the kernel holds.
  ///   - declared: What was declared.
  ///   - told: What the low-level runtime was told.
  ///   - isOurGroup: Whether the group is one around the container's own, whose limit is ours.
  package init(
    ours: CFSBandwidth, declared: CFSBandwidth, told: CFSBandwidth? = nil, isOurGroup: Bool = false
  ) {
    self.ours = ours
    rule = WriteJudge(isOurGroup: isOurGroup, delay: Self.delay)
    self.declared = declared
    self.told = told ?? declared
    unit = self.told.asUnitProperty
  }

  /// Takes note of a write of ours.
  package mutating func wrote(_ limit: CFSBandwidth) { ours = limit }

  /// Takes note of a declared value, and of what an update has written for it.
  ///
  /// - Parameters:
  ///   - declared: The new declared limit.
  ///   - applied: What the low-level runtime was told to write.
  package mutating func declared(_ declared: CFSBandwidth, told applied: CFSBandwidth) {
    self.declared = declared
    told = applied
    unit = applied.asUnitProperty
  }

  /// Takes note of a declared value that was not announced, and of its writer.
  package mutating func learned(_ declared: CFSBandwidth, from writers: Writers = .unknown) {
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
  ///   - writers: The processes that have written since the last look, ourselves left out.
  ///   - now: The time.
  /// - Returns: What to make of it.
  package mutating func judge(
    _ found: CFSBandwidth, by writers: Writers = .unknown, at now: Nanoseconds
  ) -> Verdict {
    let isOurs = found == ours
    return rule.judge(isOurs: isOurs, isOld: !isOurs && isOld(found, by: writers), at: now)
  }

  /// Whether each of the writers had this value before.
  private func isOld(_ found: CFSBandwidth, by writers: Writers) -> Bool {
    if found == declared { return true }
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

  /// Takes note that an old value was written over.
  package mutating func corrected(at now: Nanoseconds) { rule.corrected(at: now) }
}
