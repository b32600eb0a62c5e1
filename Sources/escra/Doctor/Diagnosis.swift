// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits
internal import State

/// One thing that a kernel may offer, and what became of trying it.
struct Finding: Equatable {
  /// What it is, in a word or two.
  let name: String
  /// What it is for.
  let use: String
  /// Why it does not work, as an errno's name or in words; nil when it does.
  let failure: String?
  /// What is done instead, and what that costs.
  let instead: String
  /// Whether it was refused to this user only, so that nothing follows.
  var needsRoot = false

  var works: Bool { failure == nil }

  /// The finding as a check: what is missing and costs nothing is well.
  var check: Check {
    if needsRoot { return .warning(name, "not known: only root can try it: \(use)") }
    guard let failure else { return .ok(name, use) }
    let level: Check.Level = instead.hasPrefix("not ") ? .ok : .warning
    return Check(level: level, name: name, sentence: "no (\(failure)): \(instead)")
  }

  /// For programs.
  var json: JSON {
    .object([
      ("name", .string(name)), ("works", needsRoot ? .null : .bool(works)),
      ("failure", .optional(failure)),
      ("use", .string(use)), ("instead", .string(instead)),
    ])
  }
}

/// What this machine offers to a container whose limits live.
struct Diagnosis {
  /// Whether BPF predicts, and what else was tried.
  var prediction: Finding
  var nets: [Finding]
  /// Whether BPF tells of memory.
  var memory: Finding?
  /// Whether memory has cgroup v2's line.
  let hasLine: Bool
  var perf: Finding
  /// Everything else.
  var others: [Finding]
  /// What was looked at beside the kernel.
  var checks: [Check] = []
  /// Whether everything could be tried.
  private(set) var isComplete = true

  /// Draws no conclusion from what was refused to this user, who is not root.
  mutating func admitNotRoot() {
    isComplete = false
    func admit(_ finding: Finding) -> Finding {
      var finding = finding
      finding.needsRoot = finding.failure == "EPERM" || finding.failure == "EACCES"
      return finding
    }
    prediction = admit(prediction)
    nets = nets.map(admit)
    memory = memory.map(admit)
    perf = admit(perf)
    others = others.map(admit)
    let names = findings.filter(\.needsRoot).map(\.name).joined(separator: ", ")
    checks.append(
      .problem(
        "user",
        "this user is not root, so escra doctor could not try \(names.isEmpty ? "all" : names); run "
          + "it as root"))
  }

  /// Everything that was looked at.
  var all: [Check] { checks + findings.map(\.check) }

  /// What would fail containers, or keeps the diagnosis from being one: each is a sentence.
  var problems: [String] { all.filter { $0.level == .problem }.map(\.sentence) }

  var findings: [Finding] { [prediction] + nets + [memory].compactMap(\.self) + [perf] + others }

  /// By what a new container's need would be heard, as `escra ps` calls it.
  ///
  var source: String {
    if prediction.works { return "bpf" }
    return perf.works ? "perf, sampling" : "sampling"
  }

  /// By what it would be heard that a new container's memory limit has to move, likewise.
  var memorySource: MemorySource {
    guard hasLine else { return .thresholds }
    return prediction.works && memory?.works == true ? .hook : .events
  }

  /// What that means, in a sentence.
  var conclusion: String {
    let source = source
    let meaning =
      switch source {
      case "sampling":
        "an idle container costs 20 wake-ups a second, its floor is half of what it declared, and "
          + "a burst waits up to 50 ms"
      case "perf, sampling":
        "an idle container costs nothing, a busy one is looked at every few milliseconds"
      default:
        "an idle container costs nothing, a busy one ten wake-ups a second, and its limit is "
          + "raised before it is hit"
      }
    return "A new reactive container's need is heard of by: \(source). So \(meaning)."
  }

  /// Lines for a terminal of so many columns, or for none.
  func lines(columns: Int? = nil) -> [String] {
    let conclusions = [
      conclusion, "That its memory limit has to move is heard of by: \(memorySource.rawValue).",
    ]
    let sentences = isComplete ? [""] + conclusions : []
    return Check.lines(all, columns: columns)
      + sentences.flatMap { sentence in
        columns.map { Table.wrapped(sentence, to: $0) } ?? [sentence]
      }
  }

  /// For programs.
  var json: JSON {
    .object([
      ("source", isComplete ? .string(source) : .null),
      ("memorySource", isComplete ? .string(memorySource.rawValue) : .null),
      ("findings", .array(findings.map(\.json))),
      ("checks", .array(all.map(\.json))),
      ("problems", .array(problems.map { .string($0) })),
    ])
  }
}
