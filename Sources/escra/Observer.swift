// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import CPUSets
internal import Control
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// Looks at all supervised containers, again and again; use is what happened between two looks.
final class Observer {
  private let root: StateRoot
  private var readings: [String: (time: Nanoseconds, usage: Nanoseconds)] = [:]

  private let names = NameReader()

  init(_ root: StateRoot) { self.root = root }

  /// The time between the last two looks, over which use is a mean; nil before the second.
  private(set) var span: Nanoseconds?
  private var lastLook: Nanoseconds?

  /// One container: what is written down, and what is seen.
  struct Sight {
    /// The instance's directory.
    let path: String
    /// What is written down.
    let state: ContainerState
    /// What is seen.
    let report: ContainerReport
    /// Its decisions, oldest first, where they were asked for.
    let entries: [RecordEntry]

    /// The container as a person may mean it.
    var candidate: Candidate { Candidate(id: state.id, root: state.root, name: report.name) }
  }

  /// Takes two looks, 100 ms apart, at all containers together.
  func lookTwice() -> [Sight] {
    _ = look()
    usleep(100_000)
    return look()
  }

  /// Takes one look.
  ///
  /// - Returns: The containers by id; use is nil for a container that was not there at the last look.
  func look() -> [Sight] {
    var seen: [String: (time: Nanoseconds, usage: Nanoseconds)] = [:]
    var sights: [Sight] = []
    let now = monotonicNow()
    span = lastLook.map { now - $0 }
    lastLook = now
    for path in root.instances() {
      // An instance that is just being made, or removed, has no state to read.
      guard let directory = StateDirectory.ifThere(path), let state = directory.load()
      else { continue }
      let entries = Record.entries(in: directory.descriptor)
      var report = ContainerReport(state)
      report.name = names.name(of: state, at: path)
      // The CPU limit of a strict container does not move.
      if state.policy != .strict {
        report.counters = CounterFile.counters(in: directory.descriptor)
      }
      if directory.isSupervised, let supervisor = state.supervisor,
        ProcessIdentity(pid: supervisor.pid) == supervisor
      {
        report.supervisor = supervisor.pid
      }
      if directory.releaseStage != nil, report.supervisor == nil {
        report.isReleased = true
        report.unsupervised = state.unsupervised
        report.source = nil
        report.memorySource = nil
        report.ownCPUs = nil
      }
      if state.policy == .observe, !report.isReleased,
        let last = entries.last(where: { !$0.rule.isMemory })
      {
        report.wouldBe = Double(last.after) / Double(max(last.period, 1))
      }
      if !report.isReleased { takeApplicationLimits(&report, of: state) }
      if let probe = CgroupProbe(state) {
        measure(&report, with: probe, path, &seen)
      } else if state.phase == .running {
        report.phase = "ended"
      }
      sights.append(Sight(path: path, state: state, report: report, entries: entries))
    }
    readings = seen
    names.keep(sights.map(\.path))
    return sights.sorted {
      ($0.state.id, $0.state.root, $0.path) < ($1.state.id, $1.state.root, $1.path)
    }
  }

  /// A member gets no more than its application has.
  private func takeApplicationLimits(_ report: inout ContainerReport, of state: ContainerState) {
    guard let room = state.membership?.room,
      let limits = ApplicationDirectory.ifThere(root.applications + "/" + room)?.limits()
    else { return }
    // 0 is what a broker has not written yet.
    if limits.cpu.inForce > 0 { report.applicationCPU = limits.cpu.inForce }
    if limits.memory.inForce > 0 { report.applicationMemory = limits.memory.inForce }
    if let limit = report.applicationCPU {
      report.ceiling = min(report.ceiling, Double(limit) / 1e9)
    }
  }

  private func measure(
    _ report: inout ContainerReport, with probe: CgroupProbe, _ path: String,
    _ seen: inout [String: (time: Nanoseconds, usage: Nanoseconds)]
  ) {
    if let usage = probe.usage {
      let now = monotonicNow()
      if let last = readings[path], now > last.time {
        report.cpu.used = Double(usage - last.usage) / Double(now - last.time)
      }
      seen[path] = (now, usage)
    }
    report.cpu.limit = probe.cpuLimit
    report.cpu.visible = probe.innerCPU
    report.memory.limit = probe.memoryLimit
    report.memory.visible = probe.innerMemory
    // Engines write it to a group that no supervisor looks at the memory of.
    if report.memorySource == nil, case .at(let declared) = probe.innerMemory {
      report.memory.declared = declared
    }
    report.memory.used = probe.memoryUse
  }
}

extension ContainerReport {
  /// What is written down of a container, before anything is looked at.
  init(_ state: ContainerState) {
    self.init(
      id: state.id, root: state.root, bundle: state.bundle, policy: state.policy, app: state.app,
      phase: state.phase.rawValue, pid: state.initProcess?.pid, source: state.source,
      memorySource: state.memorySource,
      cpu: Amounts(declared: state.base.declaredCores.map { Double($0) / 1e9 }),
      ceiling: Double(state.base.ceiling) / 1e9,
      ownCPUs: state.claim.map(\.held.description),
      memory: Amounts(declared: state.declaredMemory))
  }
}
