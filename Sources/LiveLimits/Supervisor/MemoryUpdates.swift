// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// Updates of a container's memory.
extension MemorySupervisor {
  func isExpected(_ found: Int64) -> Bool {
    expected.map { MemoryBase.isSame($0.limit, found) && monotonicNow() <= $0.until } ?? false
  }

  /// The low-level runtime has ended: what it wrote again after it had failed is taken back.
  func endUpdate() -> [RecordEntry] {
    let entries = look()
    isUpdating = false
    limits.alignSwap()
    return entries
  }

  /// An update that the low-level runtime has taken.
  ///
  /// - Parameters:
  ///   - limit: The declared limit in bytes from now on, -1 for none; nil where it stays.
  ///   - swap: Memory and swap together likewise.
  /// - Returns: What is to be recorded.
  func update(limit: Int64?, swap: Int64?) -> [RecordEntry] {
    if base.inner != nil {
      base.redeclare(limit: limit, swap: swap)
      // As in ``MemoryBase/innerUpdate(limit:swap:)``.
      if let limit, limit > 0, base.explicitCeiling != nil {
        base.told = max(base.firstInner, limit)
      }
      isBaseChanged = true
      isRedeclared = isShared
      let entries = look()
      controller.adopt(limit: ours, bounds: base.bounds)
      if limit != nil, !isShared, let entry = startAgain(from: ours) { return entries + [entry] }
      limits.alignSwap()
      return entries
    }
    var entries = look()
    let before = controller.limit
    base.redeclare(limit: limit, swap: swap)
    guard limit != nil || swap != nil else { return entries }
    isBaseChanged = true
    if isShared {
      // What it has stays its application's to grant.
      isRedeclared = true
      controller.adopt(limit: before, bounds: base.bounds)
      limits.alignSwap()
      return entries
    }
    controller.adopt(limit: before, bounds: base.bounds)
    guard limit != nil, let entry = startAgain(from: before) else {
      limits.alignSwap()
      return entries
    }
    entries.append(entry)
    return entries
  }

  /// What the low-level runtime is to write, so that its update does not take back what was given;
  /// nothing under `observe`.
  ///
  /// It writes the memory limit that it knows along with whatever is changed.
  ///
  /// - Parameters:
  ///   - limit: The declared limit in bytes that the update asks for, -1 for none; nil where it stays.
  ///   - swap: Memory and swap together likewise.
  /// - Returns: Bytes, -1 for no limit; nil for what is left out.
  func applied(limit: Int64?, swap: Int64?) -> (limit: Int64?, swap: Int64?) {
    guard !limits.isReadOnly else { return (nil, nil) }
    if base.inner != nil { return base.innerUpdate(limit: limit, swap: swap) ?? (nil, nil) }
    var next = base
    next.redeclare(limit: limit, swap: swap)
    // A service manager writes what it was told last whenever it likes: that is never to be a kill.
    let told = base.isScope ? next.scopeLimit : ours
    expected = (told, monotonicNow() + Self.expectation)
    let limit = told >= MemoryLimit.unlimited ? -1 : told
    return (limit, next.requestedSwap(at: told).map { limit < 0 ? -1 : $0 })
  }
}
