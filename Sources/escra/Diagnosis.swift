// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits

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

  var works: Bool { failure == nil }

  /// "yes", or why not, and what that means.
  var cells: [String] {
    [name, failure.map { "no (\($0))" } ?? "yes", works ? use : instead]
  }

  /// For programs.
  var json: JSON {
    .object([
      ("name", .string(name)), ("works", .bool(works)), ("failure", .optional(failure)),
      ("use", .string(use)), ("instead", .string(instead)),
    ])
  }
}

/// What this machine offers to a container whose limits live.
struct Diagnosis {
  /// Whether BPF predicts, and what else was tried.
  let prediction: Finding
  let nets: [Finding]
  /// Whether BPF tells of memory.
  let memory: Finding?
  /// Whether memory has cgroup v2's line.
  let hasLine: Bool
  let perf: Finding
  /// Everything else.
  let others: [Finding]

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

  /// Lines for a terminal.
  var lines: [String] {
    var table = Table(columns: [.init(title: "WHAT"), .init(title: "WORKS"), .init(title: "MEANS")])
    table.rows = findings.map(\.cells)
    return table.lines + [
      "", conclusion, "That its memory limit has to move is heard of by: \(memorySource.rawValue).",
    ]
  }

  /// For programs.
  var json: JSON {
    .object([
      ("source", .string(source)), ("memorySource", .string(memorySource.rawValue)),
      ("findings", .array(findings.map(\.json))),
    ])
  }
}
