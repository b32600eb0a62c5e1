// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities
internal import State
internal import Syscalls

extension RunRecord {
  /// How often each figure is there, by its name: of JSON, CSV and SQLite.
  var figures: [(name: String, value: JSON)] {
    func cores(_ nanocores: Int64) -> JSON { .number(Double(nanocores) / 1e9) }
    func seconds(_ time: Nanoseconds) -> JSON { .number(Double(time) / 1e9) }
    return [
      ("run", .string(String(nonce, radix: 36))), ("started", .string(rfc3339(started))),
      ("written", .string(rfc3339(written))), ("isFinal", .bool(isFinal)),
      ("policy", .string(isObserved ? "observe" : "reactive")), ("seconds", seconds(duration)),
      ("busySeconds", seconds(busy)),
      ("declaredCPU", declaredCPU > 0 ? cores(declaredCPU) : .null),
      ("declaredMemory", declaredMemory > 0 ? .integer(declaredMemory) : .null),
      ("cpuSeconds", seconds(usedCPU)), ("heldCPUSeconds", seconds(heldCPU)),
      ("cpuPeak", cores(cpuPeak)), ("earlyCPUPeak", cores(earlyCPU)),
      ("longestBurstSeconds", seconds(longestBurst)),
      ("memoryPeak", .integer(memoryPeak)), ("earlyMemoryPeak", .integer(earlyMemory)),
      ("heldMemoryKiBSeconds", heldMemory > 0 ? .integer(heldMemory) : .null),
      ("throttledSeconds", seconds(throttledTime)), ("stalledSeconds", seconds(stalled)),
      ("raises", .integer(Int64(events.raises))), ("returns", .integer(Int64(events.returns))),
      ("throttles", .integer(Int64(events.throttles))),
      ("refusals", .integer(Int64(events.refusals))),
      ("memoryRaises", .integer(Int64(events.memoryRaises))),
      ("memoryRefusals", .integer(Int64(events.memoryRefusals))),
      ("kills", .integer(Int64(events.kills))),
    ]
  }

  /// The record as an object; its members are a package contract.
  var json: JSON {
    .object(
      figures + [
        ("busyPeriods", cpu.json { .number(Double($0) / 1e9) }),
        ("bursts", bursts.json { .number(Double($0) / 1e9) }),
        ("memorySeconds", memory.json { .integer($0) }),
      ])
  }
}

extension Histogram {
  /// The buckets that have something in them: upper bound and count.
  fileprivate func json(_ bound: (Int64) -> JSON) -> JSON {
    .array(
      counts.indices.filter { counts[$0] > 0 }.map { index in
        .object([("upTo", bound(scale.bound(index))), ("count", .integer(Int64(counts[index])))])
      })
  }
}

extension StoredProfile {
  /// The profile as an object.
  var json: JSON {
    let runs = runs
    return .object([
      ("profile", .string(name)), ("namespace", .optional(namespace)), ("root", .string(root)),
      ("runs", .integer(Int64(runs.count))),
      ("seconds", .number(runs.reduce(0) { $0 + Double($1.total.duration) / 1e9 })),
      ("lastWritten", .optional(runs.map(\.total.written).max().map { rfc3339($0) })),
      ("traces", .integer(Int64(traces.count))), ("isDamaged", .bool(isDamaged)),
    ])
  }
}

extension Table {
  /// The profiles, a row each.
  static func profiles(_ profiles: [StoredProfile]) -> Table {
    let columns = ["PROFILE", "RUNS", "SEEN", "CPU PEAK", "MEM PEAK", "LAST RECORD"]
    var table = Table(
      columns: columns.enumerated().map { Column(title: $1, isNumber: (1...4).contains($0)) })
    table.rows = profiles.map { profile in
      let runs = profile.runs.map(\.total)
      return [
        profile.title, "\(runs.count)", span(runs.reduce(0) { $0 + Double($1.duration) / 1e9 }),
        cores(Double(runs.map(\.cpuPeak).max() ?? 0) / 1e9),
        bytes(runs.map(\.memoryPeak).max() ?? 0),
        runs.map(\.written).max().map { rfc3339($0) } ?? "-",
      ]
    }
    return table
  }

  /// Runs, a row each.
  static func runs(_ runs: [Run]) -> Table {
    let columns = [
      "STARTED", "POLICY", "SEEN", "BUSY", "CPU MEAN", "CPU PEAK", "CPU HELD", "MEM PEAK", "RAISES",
      "THROTTLED", "KILLS", "STATE",
    ]
    var table = Table(
      columns: columns.enumerated().map { Column(title: $1, isNumber: (2...10).contains($0)) })
    table.rows = runs.map { run in
      let run = run.total
      let time = max(1, Double(run.duration))
      return [
        rfc3339(run.started), run.isObserved ? "observe" : "reactive",
        span(Double(run.duration) / 1e9), span(Double(run.busy) / 1e9),
        cores(Double(run.usedCPU) / time), cores(Double(run.cpuPeak) / 1e9),
        cores(Double(run.heldCPU) / time), bytes(run.memoryPeak), "\(run.events.raises)",
        span(Double(run.throttledTime) / 1e9), "\(run.events.kills)",
        run.isFinal ? "ended" : "snapshot",
      ]
    }
    return table
  }
}

/// A time for people: "0.42 s", "17.0 min", "12.5 h", "3.0 d".
func span(_ seconds: Double) -> String {
  if seconds < 120 { return fixed(seconds, seconds < 10 ? 2 : 1) + " s" }
  if seconds < 7200 { return fixed(seconds / 60, 1) + " min" }
  if seconds < 172_800 { return fixed(seconds / 3600, 1) + " h" }
  return fixed(seconds / 86_400, 1) + " d"
}
