// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities

/// How near a run came to a memory limit.
struct NearMisses: Equatable {
  /// The limit, in bytes.
  let limit: Int64
  /// The busy seconds in which more than nine tenths of it were in use.
  let seconds: Int64
  /// Whether the run used more than the limit.
  let isKilled: Bool

  init(_ run: RunRecord, limit: Int64) {
    self.limit = limit
    let line = limit / 10 * 9
    let scale = run.memory.scale
    // A bucket counts when all that it may hold is above the line.
    seconds = run.memory.counts.indices.reduce(0) { sum, index in
      let least = index == 0 ? 0 : scale.bound(index - 1)
      return sum + (least >= line ? Int64(run.memory.counts[index]) : 0)
    }
    isKilled = run.memoryPeak > limit
  }
}

/// A replay as people and programs read it.
struct ReplayReport {
  let trace: DemandTrace
  let rows: [(name: String, outcome: Replay.Outcome)]
  let memory: [NearMisses]

  private func mean(_ outcome: Replay.Outcome, _ time: Nanoseconds) -> Double {
    Double(time) / max(1, Double(outcome.duration))
  }

  private func count(_ outcome: Replay.Outcome) -> Int {
    outcome.bursts.count / outcome.phases
  }

  private var used: Nanoseconds { trace.pieces.reduce(0) { $0 + $1.use } }

  /// A table, a row for each candidate.
  var lines: [String] {
    var table = Table(
      columns: [
        "CANDIDATE", "THROTTLED", "BURST P50", "BURST P99", "LONGEST", "LIMIT MEAN", "SLACK",
        "WRITES",
      ].enumerated().map { Table.Column(title: $1, isNumber: $0 > 0) })
    table.rows = rows.map { name, outcome in
      [
        name, span(Double(outcome.throttled) / 1e9), milliseconds(outcome.burst(0.5)),
        milliseconds(outcome.burst(0.99)), milliseconds(outcome.bursts.last),
        cores(mean(outcome, used + outcome.slack)), cores(mean(outcome, outcome.slack)),
        "\(outcome.limits.count - 1)",
      ]
    }
    let bursts = rows.first.map { count($0.outcome) } ?? 0
    var lines = [
      "\(span(Double(trace.duration) / 1e9)) with \(bursts == 1 ? "1 burst" : "\(bursts) bursts"), "
        + "\(span(Double(used) / 1e9)) of CPU time", "",
    ]
    lines += table.lines
    lines += memory.map { misses in
      misses.isKilled
        ? "At \(bytes(misses.limit)) of memory it would have been killed."
        : "At \(bytes(misses.limit)) of memory it would have survived, with more than nine tenths in "
          + "use in \(misses.seconds == 1 ? "1 second" : "\(misses.seconds) seconds")."
    }
    if trace.isDamaged { lines.append("Some of the trace's bytes are damaged; they are left out.") }
    return lines
  }

  private func milliseconds(_ time: Nanoseconds?) -> String {
    time.map { fixed(Double($0) / 1e6, 1) + " ms" } ?? "-"
  }

  /// Everything as an object; its members are a package contract.
  var json: JSON {
    func seconds(_ time: Nanoseconds?) -> JSON { time.map { .number(Double($0) / 1e9) } ?? .null }
    return .object([
      ("seconds", seconds(trace.duration)), ("cpuSeconds", seconds(used)),
      (
        "candidates",
        .array(
          rows.map { name, outcome in
            .object([
              ("candidate", .string(name)), ("throttledSeconds", seconds(outcome.throttled)),
              ("bursts", .integer(Int64(count(outcome)))),
              ("burstP50Seconds", seconds(outcome.burst(0.5))),
              ("burstP99Seconds", seconds(outcome.burst(0.99))),
              ("longestBurstSeconds", seconds(outcome.bursts.last)),
              ("meanLimit", .number(mean(outcome, used + outcome.slack))),
              ("meanSlack", .number(mean(outcome, outcome.slack))),
              ("writes", .integer(Int64(outcome.limits.count - 1))),
            ])
          })
      ),
      (
        "memory",
        .array(
          memory.map { misses in
            .object([
              ("limit", .integer(misses.limit)), ("isKilled", .bool(misses.isKilled)),
              ("nearMissSeconds", .integer(misses.seconds)),
            ])
          })
      ),
    ])
  }
}
