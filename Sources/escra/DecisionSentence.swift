// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import OCISpec
internal import Quantities
internal import State

extension Rule {
  /// The rule's name in `escra explain --json`; it is a package contract.
  var name: String {
    switch self {
    case .start: "start"
    case .jumpStart: "jumpStart"
    case .fairShare: "fairShare"
    case .scaleUp: "scaleUp"
    case .scaleDown: "scaleDown"
    case .trim: "trim"
    case .idle: "idle"
    case .update: "update"
    case .drift: "drift"
    case .news: "news"
    case .end: "end"
    case .refused: "refused"
    case .declared: "declared"
    case .predicted: "predicted"
    case .exhausted: "exhausted"
    case .giveBack: "giveBack"
    case .rest: "rest"
    case .due: "due"
    case .granted: "granted"
    case .recalled: "recalled"
    case .advance: "advance"
    case .memoryFound: "memoryFound"
    case .memoryGrown: "memoryGrown"
    case .memoryNearMiss: "memoryNearMiss"
    case .memoryRefaults: "memoryRefaults"
    case .memoryGivenBack: "memoryGivenBack"
    case .memoryRefused: "memoryRefused"
    case .memoryHostFull: "memoryHostFull"
    case .memoryNotTaken: "memoryNotTaken"
    case .memoryNews: "memoryNews"
    case .memoryKill: "memoryKill"
    case .memoryBounded: "memoryBounded"
    case .memoryUpdate: "memoryUpdate"
    case .memoryDrift: "memoryDrift"
    case .memoryGranted: "memoryGranted"
    case .memoryRecalled: "memoryRecalled"
    case .memoryPredicted: "memoryPredicted"
    }
  }

  /// Why, as the clause behind a colon.
  var reason: String {
    switch self {
    case .start: "a supervisor took the container over"
    case .jumpStart: "it woke up and ran out of its quota"
    case .fairShare: "it ran out of its quota in most periods of the last second"
    case .scaleUp: "it ran out of its quota"
    case .scaleDown: "more than a fifth of the quota was left over"
    case .trim: "a little of the quota was left over in period after period"
    case .idle: "it has been idle for two seconds"
    case .update: "the declared limit was changed"
    case .drift: "another process had written an old value over it"
    case .news: "another process wrote a new limit, which is now the declared one"
    case .end: "the container has ended"
    case .refused: "a cgroup above it has a lower limit, so the kernel refused"
    case .declared: "supervision ended, so the declared limit is back"
    case .predicted: "at its pace it was about to run out of its quota"
    case .exhausted: "it used up its quota, so its demand is not known"
    case .giveBack: "its recent peak plus the margin is lower"
    case .rest: "it has been idle"
    case .due: "a new period began, so the rest of an earlier raise was due"
    case .granted: "it needs more, and its application had this much"
    case .recalled: "another member of its application needed it more"
    case .advance: "it ran out of its quota shortly before a new period"
    case .memoryFound: "a supervisor took its memory over"
    case .memoryGrown: "it was about to use all of its limit"
    case .memoryNearMiss: "it came close to its limit"
    case .memoryRefaults: "it reads files again that did not fit into its page cache"
    case .memoryGivenBack: "it has not used more for a while"
    case .memoryRefused: "it needs more, and this is its maximum"
    case .memoryHostFull: "it needs more, and the machine has no memory to spare"
    case .memoryNotTaken: "the kernel refused the limit"
    case .memoryNews: "another process wrote a new memory limit, which is now the declared one"
    case .memoryKill: "it was at its limit, and the kernel killed a process"
    case .memoryBounded: "its limit was above its maximum"
    case .memoryUpdate: "the declared memory limit was changed"
    case .memoryDrift: "another process had overwritten it"
    case .memoryGranted: "it needs more memory, and its application had this much"
    case .memoryRecalled: "another member of its application needed the memory more"
    case .memoryPredicted: "its earlier runs needed less at first"
    }
  }

  /// The same of a limit that was not written, as under observe: what would have become of it.
  fileprivate var hypothesis: String {
    switch self {
    case .jumpStart: "it woke up and would have used up that quota"
    case .fairShare: "it would have used up that quota in most periods of the last second"
    case .scaleUp: "it would have used up that quota"
    case .scaleDown: "more than a fifth of that quota would have been left over"
    case .trim: "a little of that quota would have been left over in period after period"
    case .refused: "a cgroup above it has a lower limit, so the kernel would have refused"
    case .predicted: "at its pace it would have used up that quota"
    case .exhausted: "it would have used up that quota, so its demand is not known"
    case .due: "a new period began, so the rest of an earlier raise would have been due"
    case .advance: "it would have used up that quota shortly before a new period"
    case .memoryGrown: "it would have been about to use all of that limit"
    case .memoryNearMiss: "it would have come close to that limit"
    case .memoryBounded: "it has more than its maximum"
    default: reason
    }
  }

  /// Whether it was decided from what the container used.
  fileprivate var isAboutUse: Bool {
    switch self {
    case .jumpStart, .fairShare, .scaleUp, .scaleDown, .trim, .idle, .predicted, .exhausted,
      .giveBack, .rest, .due, .advance, .granted, .memoryFound, .memoryGrown, .memoryNearMiss,
      .memoryRefaults, .memoryPredicted,
      .memoryGivenBack, .memoryGranted, .memoryRefused, .memoryHostFull, .memoryKill,
      .memoryBounded:
      true
    case .start, .update, .drift, .news, .end, .refused, .declared, .recalled, .memoryNotTaken,
      .memoryNews, .memoryUpdate, .memoryDrift, .memoryRecalled:
      false
    }
  }
}

extension RecordEntry {
  /// The quota before, in cores.
  var coresBefore: Double { perPeriod(before) }
  /// The quota after, in cores.
  var coresAfter: Double { perPeriod(after) }
  /// The use it was decided from, in cores.
  var coresUsed: Double { perPeriod(use) }

  private func perPeriod(_ time: Int64) -> Double { Double(time) / Double(max(period, 1)) }

  /// The decision in one sentence.
  ///
  /// "raised 0.05 -> 1.00 cores: it woke up and ran out of its quota (used 0.03)"; with
  /// "would have" in front where nothing was written.
  var sentence: String {
    let amount = rule.isMemory ? bytes(use) : cores(coresUsed)
    return "\(deed): \(reason)" + (knowsUse ? " (used \(amount))" : "")
  }

  /// Whether the use that it was decided from is written down: nothing is raised for no use.
  private var knowsUse: Bool { rule.isAboutUse && (use > 0 || after <= before) }

  /// Why, as the clause behind a colon.
  var reason: String {
    guard let writer = writerName else { return applied ? rule.reason : rule.hypothesis }
    switch rule {
    case .drift: return "\(writer) had written an old value over it"
    case .news: return "\(writer) wrote a new limit, which is now the declared one"
    default: return rule.reason
    }
  }

  private var writerName: String? {
    switch writer {
    case .named(let name)?: Table.printable(name)
    case .process(let pid)?: "process \(pid)"
    case nil: nil
    }
  }

  private var deed: String {
    rule.isMemory ? memoryDeed : cpuDeed
  }

  private var memoryDeed: String {
    switch rule {
    case .memoryFound: return "found \(memory(after))"
    case .memoryRefused, .memoryHostFull:
      return (applied ? "stays at " : "would have stayed at ") + memory(after)
    case .memoryKill: return "out of memory at \(memory(after))"
    case .memoryNotTaken: return "tried \(memory(before)), stays at \(memory(after))"
    default: break
    }
    let condition = applied || rule == .memoryNews ? "" : "would have "
    let from = before >= MemoryLimit.unlimited ? memory(before) : bytes(before)
    let change = "\(from) -> \(memory(after))"
    if after == before { return "\(condition)kept \(memory(after))" }
    return condition + (after > before ? "raised " : "lowered ") + change
  }

  private func memory(_ limit: Int64) -> String {
    limit >= MemoryLimit.unlimited ? "no memory limit" : bytes(limit) + " of memory"
  }

  private var cpuDeed: String {
    let change = "\(cores(coresBefore)) -> \(cores(coresAfter)) cores"
    // A supervisor that starts changes nothing, and a refused value was never in force.
    if rule == .start { return "found \(cores(coresAfter)) cores" }
    if rule == .refused {
      return after > before ? "tried \(change)" : "stays at \(cores(coresAfter)) cores"
    }
    let condition = applied ? "" : "would have "
    if after == before { return "\(condition)kept \(cores(coresAfter)) cores" }
    return condition + (after > before ? "raised " : "lowered ") + change
  }

  /// The decision in `escra explain --json`.
  var json: JSON {
    .object([
      ("sequence", .integer(Int64(clamping: sequence))), ("timeNanoseconds", .integer(time)),
      ("rule", .string(rule.name)), ("applied", .bool(applied)),
      ("before", rule.isMemory ? .integer(before) : .number(coresBefore)),
      ("after", rule.isMemory ? .integer(after) : .number(coresAfter)),
      ("used", knowsUse ? rule.isMemory ? .integer(use) : .number(coresUsed) : .null),
      ("writer", writerName.map { .string($0) } ?? .null),
      ("sentence", .string(sentence)),
    ])
  }
}
