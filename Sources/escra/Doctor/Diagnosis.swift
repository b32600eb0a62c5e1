// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits
internal import State

/// A feature of the kernel, and whether it works here.
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

/// What this machine offers to a container whose limits follow demand.
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

  /// Draws no conclusion from what the kernel refused to a user without root's rights.
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

  /// How the demand of a new container would be detected, as `escra ps` calls it.
  var source: String {
    if prediction.works { return "bpf" }
    return perf.works ? "perf, sampling" : "sampling"
  }

  /// How its demand for memory would be detected, likewise.
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
          + "raised before it is throttled"
      }
    return "The CPU demand of a new container is detected by: \(source). So \(meaning)."
  }

  /// The answer to what the operator asks, in a sentence.
  var verdict: String {
    func count(_ level: Check.Level) -> String? {
      let number = all.filter { $0.level == level }.count
      return number == 0 ? nil : number == 1 ? "1 \(level)" : "\(number) \(level)s"
    }
    let warnings = count(.warning).map { ", with \($0) above" } ?? ""
    guard let problems = count(.problem) else { return "It will work here\(warnings)." }
    return "It will not work here as it is: \(problems)\(warnings)."
  }

  /// Lines for a terminal of so many columns, or for none.
  func lines(columns: Int? = nil) -> [String] {
    let conclusions = [
      conclusion, "Its demand for memory is detected by: \(memorySource.rawValue).", verdict,
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
