// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Between what a memory limit moves, in bytes.
package struct MemoryBounds: Equatable, Sendable {
  /// Never lowered below this.
  package var floor: Int64
  /// Never raised above this.
  package var ceiling: Int64

  /// Makes bounds; a floor above the ceiling becomes the ceiling.
  package init(floor: Int64, ceiling: Int64) {
    self.floor = min(floor, ceiling)
    self.ceiling = ceiling
  }

  /// The limit within these bounds that is nearest to `limit`.
  package func clamp(_ limit: Int64) -> Int64 { min(max(limit, floor), ceiling) }
}

/// What a container declared of memory and what the annotations allow, in bytes.
package struct MemoryBase: Equatable, Sendable {
  /// The declared limit, config.json's or the last update's; nil for none.
  package var declared: Int64?
  /// What it may swap beside its memory: memory.memsw.limit_in_bytes less memory.limit_in_bytes on
  /// cgroup v1.
  ///
  /// It stays what was declared wherever the limit goes; ``MemoryLimit/unlimited`` where an update has asked for
  /// no limit, and nil where nothing was declared, and then the file is left alone.
  package var swapAllowance: Int64?
  /// The least it may be given.
  package var floor: Int64
  /// The most it may be given where an annotation says so; else ``declared`` is.
  package var explicitCeiling: Int64?
  /// What nothing may exceed: the operator's ceiling and the machine's memory.
  package var limit: Int64
  /// What the machine keeps: no limit is raised where less than this would be available.
  package var hostReserve: Int64
  /// The first limit of a restored container, where its image needs more than it declares; nil once
  /// the container was found.
  package var needed: Int64?
  /// What its earlier runs needed at first; nil once that was made its limit.
  ///
  /// Until the container was found it has what it declares: no supervisor could raise less.
  package var predicted: Int64?
  /// The limit that the kernel had when its writers began to be noticed; found out anew for each
  /// supervisor.
  package var found: Int64?
  /// The limit of the container's own group, as it was read last, where the limit that moves is that of
  /// a group around it; nil for a container that has one group.
  package var inner: Int64?
  /// What the low-level runtime was told to write there, or in the scope that is a container's one
  /// group; nil for one group that no systemd writes.
  package var told: Int64?
  /// Whether its limit is a line: programs in it can read the groups above its own, since it has no cgroup
  /// namespace, and are to find no limit there.
  package var isLine = false
  /// The limit of its application, as ``CPUBase`` has it.
  package var application: Int64?
  /// The limits above its group; found out anew for each supervisor.
  package var above = LimitsAbove()

  /// Makes a base.
  package init(
    declared: Int64?, swapAllowance: Int64? = nil, floor: Int64, explicitCeiling: Int64?,
    limit: Int64, hostReserve: Int64 = 0
  ) {
    self.declared = declared
    self.swapAllowance = swapAllowance
    self.floor = floor
    self.explicitCeiling = explicitCeiling
    self.limit = limit
    self.hostReserve = hostReserve
  }

  /// What it may move between.
  package var bounds: MemoryBounds {
    let inner = application == nil ? inner : nil
    // systemd writes what it was told when it likes, and less than what is used is a kill.
    let known = isScope ? told : nil
    return MemoryBounds(
      floor: floor,
      ceiling: min(
        limit, above.most ?? .max, inner ?? .max, known ?? .max,
        explicitCeiling ?? declared ?? limit))
  }

  /// Whether the limit that moves is that of a scope, which systemd writes, too.
  package var isScope: Bool { inner == nil && told != nil }

  /// What the low-level runtime is to tell systemd of a scope: the most that the container may have.
  package var scopeLimit: Int64 {
    var base = self
    base.told = nil
    return base.bounds.ceiling
  }

  /// The first limit, if that is not what is declared.
  package var first: Int64? { needed }

  /// What its earlier runs needed at first, as far as it may have that.
  package var predictedLimit: Int64? {
    predicted.map { bounds.clamp(min($0, declared ?? limit)) }
  }

  /// The limit that the container's own group is to have at first, if the limit that moves is that of
  /// a group around it: the most that it may have; ``MemoryLimit/unlimited`` for none.
  package var firstInner: Int64 {
    guard let explicitCeiling else { return declared ?? MemoryLimit.unlimited }
    return min(limit, explicitCeiling, application ?? .max)
  }

  /// The most that it may have at first; nil for no limit.
  package var most: Int64? { firstInner < MemoryLimit.unlimited ? firstInner : nil }

  /// Takes note of the limit of the container's own group, as ``CPUBase`` does.
  package mutating func takeInner<Failure: Error>(
    _ found: Int64, raise: (Int64) throws(Failure) -> Void
  ) -> Bool {
    guard let before = inner else { return false }
    // The kernel counts whole pages.
    let isOld = told.map { Self.isSame(found, $0) } ?? false
    let isNew = !Self.isSame(found, before) && !isOld
    if isNew { (declared, told) = (found < MemoryLimit.unlimited ? found : nil, found) }
    inner = found
    let most = firstInner
    // Refused, it stays as it is, and the next look tries again.
    if most > found, !Self.isSame(most, found), (try? raise(most)) != nil { inner = most }
    return isNew
  }

  /// What the low-level runtime is to write into the container's own group for an update, where the
  /// limit that moves is that of a group around it: programs go on to see the most that an annotation
  /// allows, or what is declared above that.
  ///
  /// - Parameters:
  ///   - limit: In bytes, -1 for none; nil for what it was.
  ///   - swap: Memory and swap together likewise.
  /// - Returns: The same of what is to be written; nil where that is what the update asks for.
  package func innerUpdate(limit: Int64?, swap: Int64?) -> (limit: Int64?, swap: Int64?)? {
    guard let inner, explicitCeiling != nil, limit ?? 0 >= 0 else { return nil }
    var next = self
    next.redeclare(limit: limit, swap: swap)
    let most = limit.map { max(next.firstInner, $0) } ?? inner
    return (most >= MemoryLimit.unlimited ? -1 : most, next.requestedSwap(at: most))
  }

  /// Declares what an update asks for from now on.
  ///
  /// - Parameters:
  ///   - limit: In bytes, -1 for none; nil for what it was.
  ///   - swap: Memory and swap together likewise.
  package mutating func redeclare(limit: Int64?, swap: Int64?) {
    let sum = declared.flatMap { memorySwap(at: $0) }
    if let limit { declared = limit > 0 ? limit : nil }
    if swap ?? 0 < 0 || (limit ?? 0 < 0 && swap == nil && swapAllowance != nil) {
      // runc, too, has no limit of swap without one of memory.
      swapAllowance = MemoryLimit.unlimited
    } else if let declared, swapAllowance ?? 0 < MemoryLimit.unlimited || swap != nil {
      // What was not named stays: memory and swap together.
      if let sum = swap ?? sum { swapAllowance = max(0, sum - declared) }
    }
    if isScope { told = scopeLimit }
  }

  /// Whether two limits are one to the kernel, which counts whole pages.
  package static func isSame(_ one: Int64, _ other: Int64) -> Bool { one >> 12 == other >> 12 }

  /// Takes note of the limit that the kernel has now that the container was found.
  ///
  /// - Parameters:
  ///   - limit: In bytes.
  ///   - isNews: Whether anything else than what was declared is another process's: no supervisor
  ///     has moved it yet, and it was written before writes were noticed. It is to be judged as a
  ///     write.
  package mutating func find(_ limit: Int64, isNews: Bool) {
    found = limit
    guard isNews, inner == nil, let declared, !Self.isSame(limit, declared) else { return }
    if let first, Self.isSame(limit, first) { return }
    found = declared
  }

  /// What a limit has above what was declared; nothing where nothing was.
  package func excess(of limit: Int64) -> Int64 { max(0, limit - (declared ?? limit)) }

  /// The same as the low-level runtime takes it: -1 for no limit.
  package func requestedSwap(at limit: Int64) -> Int64? {
    memorySwap(at: limit).map { $0 >= MemoryLimit.unlimited ? -1 : $0 }
  }

  /// What swap and memory together are limited to under a memory limit; nil to leave that alone.
  package func memorySwap(at limit: Int64) -> Int64? {
    swapAllowance.map { allowance in
      let (sum, isTooMuch) = limit.addingReportingOverflow(allowance)
      return isTooMuch ? .max : sum
    }
  }
}

extension MemoryBase {
  /// Reads what ``write(to:)`` wrote; nil where memory is not moved.
  package init?(_ keyed: KeyValueText) {
    guard let floor = keyed[int: "memoryFloor"], let limit = keyed[int: "memoryLimit"] else {
      return nil
    }
    self.init(
      declared: keyed[int: "declaredMemory"], swapAllowance: keyed[int: "swapAllowance"],
      floor: floor, explicitCeiling: keyed[int: "memoryCeiling"], limit: limit,
      hostReserve: keyed[int: "memoryReserve"] ?? 0)
    needed = keyed[int: "memoryNeeded"]
    predicted = keyed[int: "predictedMemory"]
    inner = keyed[int: "innerMemory"]
    told = keyed[int: "toldMemory"]
    application = keyed[int: "applicationMemory"]
    isLine = keyed[int: "memoryIsLine"] == 1
  }

  package func write(to keyed: inout KeyValueText) {
    keyed[int: "declaredMemory"] = declared
    keyed[int: "swapAllowance"] = swapAllowance
    keyed[int: "memoryFloor"] = floor
    keyed[int: "memoryCeiling"] = explicitCeiling
    keyed[int: "memoryLimit"] = limit
    keyed[int: "memoryReserve"] = hostReserve
    keyed[int: "memoryNeeded"] = needed
    keyed[int: "predictedMemory"] = predicted
    keyed[int: "innerMemory"] = inner
    keyed[int: "toldMemory"] = told
    keyed[int: "applicationMemory"] = application
    keyed[int: "memoryIsLine"] = isLine ? 1 : nil
  }
}
