// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Control
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// Why a container's limits are what they are, from what is written down and what is seen.
struct Explanation {
  /// What is written down of the container.
  let state: ContainerState
  /// What is seen of it.
  let report: ContainerReport
  /// Its decisions, oldest first.
  let entries: [RecordEntry]
  /// The least CPU limit of the groups above it, in cores.
  let limitAbove: Double?
  /// The least memory limit of the groups above it, in bytes.
  var memoryAbove: Int64?
  /// CPUs of the machine.
  let cpus: Int
  /// The group that it is in with others, where the limit of that one is changed.
  var parent: ParentRegistry.Sight?
  /// What the node's agent says of its application, if that spans nodes.
  var cluster: ClusterStatus?

  /// How demand is detected, in words; nil before that is known.
  private var sources: [Substring]? {
    report.source.map { $0.split(whereSeparator: { $0 == "," || $0 == " " || $0 == "+" }) }
  }

  /// Whether hooks in the scheduler report it.
  var hasHooks: Bool { sources?.contains("bpf") == true }

  /// Whether a call comes when the idle container starts to work; nil before that is known.
  var hasAlarm: Bool? { sources.map { $0.contains("perf") || $0.contains("bpf") } }

  var observes: Bool { report.policy == .observe }

  /// What the limit moves between, in cores: at most what its application and the groups above it
  /// have.
  var bounds: (floor: Double, ceiling: Double) {
    var base = state.base
    if let limitAbove { base.limit = min(base.limit, Int64(limitAbove * 1e9)) }
    if let limit = report.applicationCPU { base.limit = min(base.limit, limit) }
    let bounds = base.bounds(hasAlarm: hasAlarm ?? true)
    let period = Double(base.period)
    return (Double(bounds.floor) / period, Double(bounds.ceiling) / period)
  }

  // MARK: sentences

  /// "gets", of a limit that is written; "would get" under observe.
  var gets: String { observes ? "would get" : "gets" }

  /// What it is called, and which process supervises it.
  var heading: [String] {
    var sentences: [String] = []
    switch (report.phase, report.pid) {
    case ("running", let pid?):
      sentences.append(
        "\(report.label) runs as process \(pid) under the policy \(report.policy.rawValue).")
    case ("ended", _):
      sentences.append("\(report.label) has ended; its policy was \(report.policy.rawValue).")
    default:
      sentences.append(
        "\(report.label) is starting under the policy \(report.policy.rawValue).")
    }
    if let app = report.app, !report.isReleased {
      sentences.append(
        state.membership == nil
          ? "It names the application \"\(app)\", but only reactive containers are members."
          : "It shares the limits of the application \"\(app)\" with its other members.")
      if state.membership?.isClusterScoped == true {
        sentences.append(
          "That spans nodes: this node has a share of it, and escra app show \(app) tells those of all "
            + "nodes.")
      }
    }
    if let supervisor = report.supervisor {
      sentences.append("Process \(supervisor) supervises it.")
    } else if let reason = report.unsupervised, report.phase != "ended" {
      sentences.append(
        "It has no supervisor: \(reason). Its limits are the declared ones; escra adopt tries again."
      )
    } else if report.isReleased && report.phase != "ended" {
      sentences.append(
        "It was released: it has no supervisor, and its engine controls its limits. escra adopt undoes "
          + "that.")
    } else if report.phase == "ended" {
      sentences.append("Its supervisor has ended, too.")
    } else {
      sentences.append(
        "Its supervisor is dead: \(observes ? "nothing is recorded" : "the limit stays as it is") "
          + "until the keeper, or the next call for this container, starts one.")
    }
    return sentences.map(Table.printable)
  }

  /// Why the CPU limit is what it is.
  var cpu: [String] {
    // Its bounds hold no longer, and what was decided last is over.
    if report.isReleased { return [declared, current, counted].compactMap(\.self) }
    if let claim = state.claim {
      return [declared, own(claim), groups, current].compactMap(\.self)
    }
    return [declared, groups, floor, ceiling, above, current, lastDecision, source, counted]
      .compactMap(\.self)
  }

  /// Which limit programs in it see.
  private var groups: String? {
    if let reason = state.oneGroup {
      return "Programs in it see its limits move, because it has no outer cgroup: "
        + "\(Table.printable(reason))."
    }
    guard let name = state.innerName, let outer = state.cpuDirectory else { return nil }
    if state.claim != nil {
      return
        "Programs in it see the memory limit of its own cgroup \(Table.printable(name)); the limit "
        + "that moves is that of the cgroup around it, \(Table.printable(outer))."
    }
    let seen: String? =
      switch report.cpu.visible {
      case .unknown: nil
      case .unlimited: "no limit"
      case .at(let limit): "\(cores(limit)) cores"
      }
    return seen.map {
      "Programs in it see \($0), the limit of its own cgroup \(Table.printable(name)); the limit that "
        + "moves is that of the outer cgroup, \(Table.printable(outer))."
    }
  }

  var declared: String {
    guard let declared = report.cpu.declared else {
      return "It declared no CPU limit."
    }
    return "It declared \(cores(declared)) cores."
  }

  func own(_ claim: CPUAllocation) -> String {
    let others = "no other container runs on them"
    if state.source?.utf8.starts(with: "partition".utf8) == true {
      return
        "\(exclusive(claim)): its cgroup is a partition, and the kernel keeps all other tasks off."
    }
    return
      "\(exclusive(claim)): \(others). Tasks of the root cgroup could, because no cpuset applies to "
      + "them."
  }

  /// The clause that names them.
  private func exclusive(_ claim: CPUAllocation) -> String {
    list(claim.held) + (claim.held.count == 1 ? " is exclusive" : " are exclusive")
  }

  private func list(_ cpus: CPUSet) -> String {
    (cpus.count == 1 ? "CPU " : "CPUs ") + cpus.description
  }

  var floor: String {
    let floor = bounds.floor
    let isRaised = floor > Double(state.base.floor) / 1e9 + 1e-6
    let origin =
      isRaised && hasAlarm == false
      ? "half of what it declared, because no event reports that it wakes up"
      : "io.escra.cpu.min, else the operator's floor"
    return "It \(gets) at least \(cores(floor)) cores: \(origin)."
  }

  var ceiling: String {
    "It \(gets) at most \(cores(bounds.ceiling)) cores: \(ceilingOrigin)."
  }

  var ceilingOrigin: String {
    let base = state.base
    let above = limitAbove.map { Int64($0 * 1e9) } ?? .max
    if above < min(base.ceiling, report.applicationCPU ?? .max) {
      return "a cgroup above its own has no more"
    }
    if let app = state.app, state.membership != nil {
      return memberCeiling(app, "io.escra.cpu.max", own: base.ceiling, report.applicationCPU)
    }
    let wanted = base.explicitCeiling ?? base.declaredCores
    if let wanted, wanted <= base.limit {
      return base.explicitCeiling == nil
        ? "what it declared; io.escra.cpu.max can allow more"
        : "io.escra.cpu.max, else io.escra.app.cpu"
    }
    return base.limit >= Int64(cpus) * 1_000_000_000
      ? "all of the machine's CPUs" : "the operator's ceiling"
  }

  /// Why a member of an application gets no more.
  func memberCeiling(
    _ app: String, _ annotation: String, own: Int64, _ limit: Int64?
  ) -> String {
    let all = "the limit of the application \"\(app)\"; escra app show has its members"
    guard let limit else { return "\(annotation), else \(all)" }
    return own < limit ? annotation : all
  }

  /// What became of the limit of the group that it is in with others.
  var above: String? {
    guard state.cpuParent != nil, let parent, let inForce = parent.inForce, let found = parent.found
    else { return nil }
    let (own, now) = (cores(Double(found) / 1e9), cores(Double(inForce) / 1e9))
    return parent.excess == 0
      ? "Its pod has \(own) cores, and more if its containers hold more than they declare: the "
        + "operator's ceiling allows it."
      : "Its pod has \(now) cores: \(own) of its own, and \(cores(Double(parent.excess) / 1e9)) that its "
        + "containers hold above what they declare."
  }

  private var current: String? {
    let use = report.cpu.used.map { ", and it uses \(cores($0))" } ?? ""
    if report.usesMoreThanItsLimit, let used = report.cpu.used, let limit = report.cpu.limit.value {
      return
        "Its limit is \(cores(limit)) cores now; over the last 0.1 s, in which the limit may have been "
        + "higher, it used \(cores(used))."
    }
    switch report.cpu.limit {
    case .unknown: return nil
    case .unlimited: return "It has no limit\(use)."
    case .at(let limit): return "Its limit is \(cores(limit)) cores\(use)."
    }
  }

  private var lastDecision: String? {
    guard let last = entries.last(where: { !$0.rule.isMemory }) else { return nil }
    if observes {
      return "Under observe nothing is written; the limit would be \(cores(last.coresAfter)) "
        + "cores: \(last.reason)."
    }
    guard case .at(let limit) = report.cpu.limit else { return nil }
    // The kernel counts whole microseconds.
    let isOurs = abs(limit - last.coresAfter) <= 1e-4
    return isOurs
      ? "The reason is the last decision: \(last.rule.reason)."
      : "The last decision was \(cores(last.coresAfter)) cores: another process has just written the "
        + "limit, or an update is in progress."
  }

  /// What its supervisors have counted.
  private var counted: String? {
    guard let counters = report.counters else { return nil }
    func count(_ number: Int64, _ noun: String) -> String {
      "\(number) \(noun)\(number == 1 ? "" : "s")"
    }
    var parts = [
      count(counters.raises, "raise")
        + ", \(counters.predictions) of them before the quota was used up",
      count(counters.returns, "return"),
    ]
    // Nothing is written under observe, so nothing waits, and no quota is there to be throttled by.
    if !observes {
      if counters.deferrals > 0 {
        parts.append(
          count(counters.deferrals, "write")
            + " that waited, because it had used more than its limit")
      }
      let stalled = fixed(Double(counters.stalled) / 1e6, 1)
      parts.append(count(counters.throttles, "throttle") + ", for \(stalled) ms in all")
    }
    if counters.ancestorThrottles > 0 {
      parts.append(count(counters.ancestorThrottles, "throttle") + " of a cgroup above it")
    }
    return "Since it began\(observes ? " there would have been" : ""): "
      + parts.joined(separator: "; ") + "."
  }

  /// Everything, as lines.
  ///
  /// - Parameters:
  ///   - last: How many decisions at most.
  ///   - now: The wall clock.
  ///   - offset: Seconds that local time is ahead of UTC.
  /// - Returns: Lines for a terminal.
  func lines(last: Int, now: Nanoseconds, offset: Int64) -> [String] {
    let shown = entries.suffix(last)
    var lines = heading + ["", "CPU"] + cpu.map { "  " + $0 }
    lines += ["", "Memory"] + memory.map { "  " + $0 }
    guard last > 0 else { return lines }
    let changes = shareChanges.suffix(last)
    if !changes.isEmpty {
      lines += ["", "The application's share of this node, the newest change last"]
      lines += changes.map {
        "  " + timestamp($0.time, now: now, offset: offset) + "  " + Table.printable($0.sentence)
      }
    }
    lines += ["", shown.isEmpty ? "No decision yet" : "Decisions, the newest last"]
    return lines
      + shown.map { "  " + timestamp($0.time, now: now, offset: offset) + "  " + $0.sentence }
  }

  /// How the share of this node has changed, oldest first.
  private var shareChanges: [ClusterStatus.Note] {
    guard let cluster else { return [] }
    return (cluster.cpu.notes + cluster.memory.notes).sorted { $0.time < $1.time }
  }

  /// Everything, for programs.
  func json(last: Int) -> JSON {
    guard case .object(let members) = report.json else { return report.json }
    let bounds = bounds
    let changes = shareChanges.suffix(last).map { change in
      JSON.object([
        ("time", .string(rfc3339(change.time))), ("sentence", .string(change.sentence)),
      ])
    }
    return .object(
      members + [
        (
          "bounds",
          .object([("floor", .number(bounds.floor)), ("ceiling", .number(bounds.ceiling))])
        ),
        (
          "memoryBounds",
          memoryBounds.map {
            .object([("floor", .integer($0.floor)), ("ceiling", .integer($0.ceiling))])
          } ?? .null
        ),
        ("hasAlarm", hasAlarm.map { .bool($0) } ?? .null),
        ("sentences", .array((heading + cpu + memory).map { .string($0) })),
        ("decisions", .array(entries.suffix(last).map(\.json))),
        ("shareChanges", .array(changes)),
      ])
  }
}
