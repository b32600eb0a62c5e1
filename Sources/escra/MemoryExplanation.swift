// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Control
internal import State

extension Explanation {
  /// What the memory limit moves between, in bytes; nil where it does not move.
  var memoryBounds: MemoryBounds? {
    guard var base = state.memory else { return nil }
    for limit in [memoryAbove, report.applicationMemory] {
      if let limit { base.limit = min(base.limit, limit) }
    }
    return base.bounds
  }

  /// The sentences about memory.
  var memory: [String] {
    let declared = report.memory.declared.map { "a memory limit of \(bytes($0))" }
    var now: [String] = []
    switch report.memory.limit {
    case .unknown: break
    case .unlimited: now.append("It has no limit now")
    case .at(let limit): now.append("Its limit is \(bytes(limit)) now")
    }
    if let used = report.memory.used {
      now.append("\(now.isEmpty ? "It" : "it") uses \(bytes(used))")
    }
    return ["It declared \(declared ?? "no memory limit")."]
      + (now.isEmpty ? [] : [now.joined(separator: ", and ") + "."])
      + memoryMovement
  }

  /// Between what the memory limit moves, and why it is where it is.
  private var memoryMovement: [String] {
    if report.isReleased { return [] }
    guard let base = state.memory, let bounds = memoryBounds else {
      return ["Its memory limit does not move, because no annotation asks for it."]
    }
    let last = entries.last(where: { $0.rule.isMemory }).map {
      "The last decision: \($0.sentence)."
    }
    return [
      "It \(gets) at least \(bytes(bounds.floor)): io.escra.memory.min, else the operator's "
        + "floor.",
      "It \(gets) at most \(bytes(bounds.ceiling)): \(ceilingOrigin(base)).",
    ] + [last, memorySource].compactMap(\.self)
  }

  func ceilingOrigin(_ base: MemoryBase) -> String {
    let own = base.bounds.ceiling
    if let memoryAbove, memoryAbove < min(own, report.applicationMemory ?? .max) {
      return "a cgroup above its own has no more"
    }
    if let app = state.app, state.membership != nil {
      return memberCeiling(app, "io.escra.memory.max", own: own, report.applicationMemory)
    }
    let wanted = base.explicitCeiling ?? base.declared
    guard let wanted, wanted <= base.limit else {
      return "the operator's ceiling, else the machine's memory"
    }
    return base.explicitCeiling == nil
      ? "what it declared; io.escra.memory.max can allow more"
      : "io.escra.memory.max, else io.escra.app.memory"
  }

  private var memorySource: String? {
    switch report.memorySource.flatMap({ MemorySource(rawValue: $0) }) {
    case .hook:
      "Demand is detected by a BPF program before memory.high is crossed."
    case .events:
      "Demand is detected by reading its use every few milliseconds while it grows, and by the "
        + "kernel's event when memory.high is crossed."
    case .thresholds: "Demand is detected by the kernel's events at thresholds below its limit."
    case nil: nil
    }
  }
}
