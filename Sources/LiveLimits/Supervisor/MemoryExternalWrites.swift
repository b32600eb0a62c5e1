// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// What other processes write over the limits of a container's memory.
extension MemorySupervisor {
  /// Another process has written a limit: what was agreed on, an old one, or a new base.
  func judge(_ found: Int64, _ usage: Int64) -> [RecordEntry] {
    if isUpdating, !isExpected(found), !limits.isReadOnly {
      return [takeBack(found, usage, .memoryDrift)].compactMap(\.self)
    }
    if isExpected(found) {
      // What we had said; meanwhile it has moved on.
      expected = nil
      guard base.isScope else {
        accept(found)
        return []
      }
      return [takeBack(found, usage, .memoryUpdate)].compactMap(\.self)
    }
    let now = monotonicNow()
    // On cgroup v1 the kernel refuses what is less than the use, and so an old limit does no harm.
    let isOld = base.inner == nil && !limits.version.refusesLimitBelowUse && isOld(found)
    switch limits.external.judge(isOurs: false, isOld: isOld, at: now) {
    case .overwritten(let moment) where moment > now:
      correction = moment
      return []
    case .ours, .overwritten:
      limits.external.corrected(at: now)
      return [takeBack(found, usage, .memoryDrift)].compactMap(\.self)
    case .declared: return [takeOver(found)]
    }
  }

  /// Whether the writer of this had it before: it is what was declared, or what the low-level runtime
  /// has told a service manager.
  private func isOld(_ found: Int64) -> Bool {
    MemoryBase.isSame(found, base.declared ?? MemoryLimit.unlimited)
      || MemoryBase.isSame(found, base.bounds.ceiling)
  }

  /// A limit that another process has written is what the container declares from now on.
  func redeclare(_ found: Int64) {
    base.declared = found >= MemoryLimit.unlimited ? nil : found
    isBaseChanged = true
    isRedeclared = isShared
  }

  /// Writes what was in force before, or what is needed by now.
  private func takeBack(_ found: Int64, _ usage: Int64, _ rule: Rule) -> RecordEntry? {
    let reading = MemoryReading(usage: usage, inactiveFile: inactiveFile())
    let target = min(max(controller.limit, law.need(reading)), max(found, controller.limit))
    limits.accept(found)
    controller.adopt(limit: target, bounds: base.bounds)
    deadline = monotonicNow()
    guard target != found else { return nil }
    return apply(
      MemoryController.Decision(limit: target, rule: rule, use: reading.workingSet), found)
  }

  /// Takes the limit of the container's own group, where another process has written it, as the one
  /// that is declared.
  func takeInner() -> [RecordEntry] {
    // A runtime writes memory and swap one after the other: cgroup v1 compares them.
    guard !isUpdating, limits.takeInner() else { return [] }
    isBaseChanged = true
    let before = ours
    if isShared {
      // What it has stays its application's to grant.
      isRedeclared = true
      controller.adopt(limit: before, bounds: base.bounds)
      return [entry(.memoryNews, before, before, use: use)]
    }
    accept(limits.current ?? before)
    let news = entry(.memoryNews, before, ours, use: use)
    return [news, startAgain(from: ours)].compactMap(\.self)
  }

  /// Has it start from what is declared, as it would at create, if it fits.
  func startAgain(from before: Int64) -> RecordEntry? {
    let start = base.bounds.clamp(base.declared ?? base.limit)
    let reading = reading()
    let target = max(start, min(before, law.need(reading)))
    guard target != before else { return nil }
    controller.adopt(limit: target, bounds: base.bounds)
    deadline = monotonicNow()
    return apply(
      MemoryController.Decision(limit: target, rule: .memoryUpdate, use: reading.workingSet),
      before)
  }

  /// Another process has written a limit: it is what the container declares from now on.
  private func takeOver(_ found: Int64) -> RecordEntry {
    let before = ours
    redeclare(found)
    if isShared, found > before {
      // More is for its application to grant.
      controller.adopt(limit: before, bounds: base.bounds)
      let kept = apply(
        MemoryController.Decision(limit: before, rule: .memoryNews, use: reading().workingSet),
        found)
      controller.hold(ours)
      return kept
    }
    accept(found)
    return entry(.memoryNews, before, found, use: use)
  }

  /// Takes a limit that another process has written as it is, and goes on from there.
  private func accept(_ found: Int64) {
    limits.accept(found)
    controller.adopt(limit: found, bounds: base.bounds)
  }
}
