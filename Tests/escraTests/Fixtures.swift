// SPDX-License-Identifier: Apache-2.0
@testable import Control
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls
@testable import escra

/// A container that declared one CPU and may have two.
func exampleState(_ change: (inout ContainerState) -> Void = { _ in }) -> ContainerState {
  var state = ContainerState(
    root: "/run/runc", id: "web", bundle: "/b", policy: .reactive,
    runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
    base: CPUBase(
      declared: CFSBandwidth(quota: 100_000), floor: 50_000_000, explicitCeiling: 2_000_000_000,
      limit: 4_000_000_000))
  state.phase = .running
  state.initProcess = ProcessIdentity(pid: 4711, startTicks: 2)
  state.source = "perf, sampling"
  change(&state)
  return state
}

/// The same, seen at work.
func exampleReport(
  _ state: ContainerState = exampleState(), _ change: (inout ContainerReport) -> Void = { _ in }
) -> ContainerReport {
  var report = ContainerReport(state)
  report.supervisor = 4712
  report.cpu.limit = .at(0.05)
  report.cpu.used = 0.013
  report.memory = Amounts(declared: 512 << 20, limit: .at(512 << 20), used: 3 << 20)
  change(&report)
  return report
}

/// A decision at a period of 100 ms, in cores.
func entry(
  _ rule: Rule, _ before: Double, _ after: Double, used: Double = 0, applied: Bool = true
) -> RecordEntry {
  RecordEntry(
    sequence: 1, time: 1_795_248_000_123_456_789, rule: rule, applied: applied,
    before: Int64(before * 1e8), after: Int64(after * 1e8), use: Int64(used * 1e8),
    period: 100_000_000)
}

/// A decision about memory, in mebibytes.
func memoryEntry(
  _ rule: Rule, _ before: Int64, _ after: Int64, used: Int64 = 0, applied: Bool = true
) -> RecordEntry {
  RecordEntry(
    sequence: 1, time: 1_795_248_000_123_456_789, rule: rule, applied: applied,
    before: before << 20, after: after << 20, use: used << 20, period: 0)
}
