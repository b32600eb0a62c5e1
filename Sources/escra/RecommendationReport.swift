// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities

/// A recommendation as people and programs read it.
struct RecommendationReport {
  let title: String
  let recommendation: Recommendation

  private func cpu(_ nanocores: Int64) -> String { cores(Double(nanocores) / 1e9) }
  private func rounded(_ nanocores: Int64) -> String { "\((nanocores + 999_999) / 1_000_000)m" }

  // MARK: table

  /// A table, and the evidence for each row.
  var lines: [String] {
    let it = recommendation
    var table = Table(
      columns: ["", "REQUEST", "LIMIT", "LOWER", "UPPER", "REACTIVE HOLDS"].enumerated().map {
        Table.Column(title: $1, isNumber: $0 > 0)
      })
    table.rows = [
      [
        "CPU", cpu(it.cpuRequest), cpu(it.cpuLimit.target), cpu(it.cpuLimit.lower),
        cpu(it.cpuLimit.upper), it.heldCPU.map(cpu) ?? "-",
      ],
      [
        "Memory", bytes(it.memoryRequest), bytes(it.memoryLimit.target),
        bytes(it.memoryLimit.lower), bytes(it.memoryLimit.upper), it.heldMemory.map(bytes) ?? "-",
      ],
    ]
    return ["\(title): \(confidence)", ""] + table.lines + [""] + evidence
  }

  private var confidence: String {
    let seen = recommendation.evidence
    return (seen.runs == 1 ? "1 run" : "\(seen.runs) runs")
      + ", seen for \(span(Double(seen.duration) / 1e9)), \(seen.periods) busy periods"
  }

  /// Why, a sentence each.
  var evidence: [String] {
    let (it, seen) = (recommendation, recommendation.evidence)
    var lines = [
      "Request: it used \(fixed(Double(seen.meanCPU) / 1e9, 3)) cores on average; 15 % is added.",
      "Limit: \(part(seen.periodsAbove)) wanted more than \(cpu(it.cpuLimit.target)) cores; "
        + "the most was \(cpu(seen.cpuPeak)).",
    ]
    if seen.isShifted {
      lines.append(
        "15 % is added, because the kernel's periods may begin within those that were seen; "
          + "io.escra.record: trace sees quarters of them instead.")
    }
    if let wait = seen.wait {
      lines.append(
        "At \(cpu(wait.limit)) cores, 1 in 20 bursts waits \(milliseconds(wait.time)) or longer.")
    }
    if seen.isCensored {
      lines.append(
        "Its limit throttled it while it was observed, so that its demand is not known: twice as "
          + "much is recommended.")
    }
    lines.append(
      "Memory: it used at most \(bytes(seen.memoryPeak)), page cache included; 15 % is added.")
    if seen.kills > 0 {
      lines.append(
        "\(seen.kills == 1 ? "1 process was" : "\(seen.kills) processes were") killed because "
          + "memory ran out, so its maximum need is not known.")
    }
    lines.append(
      "Under reactive: io.escra.cpu.min \(rounded(it.cpuMinimum)), io.escra.cpu.max "
        + "\(rounded(it.cpuLimit.target)), io.escra.memory.max \(bytes(it.memoryLimit.target))"
        + (it.heldCPU.map { "; it holds \(cpu($0)) cores on average." } ?? "."))
    if seen.runs < Recommendation.leastRuns, seen.duration < 3_600_000_000_000 {
      lines.append(
        "Confidence is low: fewer than \(Recommendation.leastRuns) runs and less than an hour.")
    }
    return lines
  }

  private func part(_ share: Double) -> String {
    share <= 0 ? "no busy period" : "1 in \(Int64((1 / share).rounded())) busy periods"
  }

  private func milliseconds(_ time: Nanoseconds) -> String {
    let milliseconds = Double(time) / 1e6
    return milliseconds < 10_000 ? fixed(milliseconds, 0) + " ms" : span(milliseconds / 1000)
  }

  // MARK: for programs

  /// The options of `docker run`.
  var docker: String {
    let it = recommendation
    return "--cpus \(cpu(it.cpuLimit.target)) --cpu-shares "
      + "\(max(2, it.cpuRequest * 1024 / 1_000_000_000)) --memory \(max(6, it.memoryLimit.target >> 20))m "
      + "--memory-reservation \(max(6, it.memoryRequest >> 20))m"
  }

  /// `resources` of a container, and the annotations of its pod for reactive.
  var kubernetes: [String] {
    let it = recommendation
    return [
      "resources:", "  requests:", "    cpu: \(rounded(it.cpuRequest))",
      "    memory: \(it.memoryRequest >> 20)Mi", "  limits:",
      "    cpu: \(rounded(it.cpuLimit.target))", "    memory: \(it.memoryLimit.target >> 20)Mi",
      "# Or, with limits that follow demand:", "# metadata:", "#   annotations:",
      "#     io.escra.policy: reactive", "#     io.escra.cpu.min: \(rounded(it.cpuMinimum))",
      "#     io.escra.cpu.max: \(rounded(it.cpuLimit.target))",
      "#     io.escra.memory.max: \(it.memoryLimit.target >> 20)Mi",
    ]
  }

  /// Everything as an object; its members are a package contract.
  var json: JSON {
    let (it, seen) = (recommendation, recommendation.evidence)
    func cores(_ nanocores: Int64) -> JSON { .number(Double(nanocores) / 1e9) }
    func figure(_ figure: Recommendation.Figure, _ unit: (Int64) -> JSON) -> JSON {
      .object([
        ("target", unit(figure.target)), ("lowerBound", unit(figure.lower)),
        ("upperBound", unit(figure.upper)),
      ])
    }
    return .object([
      ("profile", .string(title)),
      (
        "cpu",
        .object([
          ("request", cores(it.cpuRequest)), ("limit", figure(it.cpuLimit, cores)),
          ("min", cores(it.cpuMinimum)), ("max", cores(it.cpuLimit.target)),
          ("reactiveHolds", it.heldCPU.map(cores) ?? .null),
        ])
      ),
      (
        "memory",
        .object([
          ("request", .integer(it.memoryRequest)),
          ("limit", figure(it.memoryLimit) { .integer($0) }),
          ("reactiveHolds", .optional(it.heldMemory)),
        ])
      ),
      (
        "confidence",
        .object([
          ("runs", .integer(Int64(seen.runs))), ("hours", .number(Double(seen.duration) / 3.6e12)),
          ("busyPeriods", .integer(seen.periods)), ("isCensored", .bool(seen.isCensored)),
        ])
      ),
      ("evidence", .array(evidence.map { .string($0) })),
    ])
  }
}
