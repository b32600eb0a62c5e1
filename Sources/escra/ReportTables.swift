// SPDX-License-Identifier: Apache-2.0

extension Table {
  /// What `escra ps` prints.
  static func list(of reports: [ContainerReport]) -> Table {
    Table(
      columns: [
        Column(title: "ID"), Column(title: "POLICY"), Column(title: "APP"),
        Column(title: "CPU DECLARED", isNumber: true), Column(title: "CPU LIMIT", isNumber: true),
        Column(title: "CPU USED", isNumber: true), Column(title: "MEM DECLARED", isNumber: true),
        Column(title: "MEM LIMIT", isNumber: true), Column(title: "MEM USED", isNumber: true),
        Column(title: "SOURCE"), Column(title: "MEM SOURCE"), Column(title: "SUPERVISOR"),
      ],
      rows: reports.map { report in
        [
          report.shortID, report.policy, report.appCell,
          report.cpu.declared.map(cores) ?? "none", report.cpuLimitCell, report.cpuUsedCell,
          report.memory.declared.map(bytes) ?? "none", report.memoryLimitCell,
          report.memoryUsedCell, report.source ?? "-",
          report.memorySource ?? "-", report.supervisorCell,
        ]
      })
  }

  /// What `escra top` prints: less text, and a bar.
  static func top(of reports: [ContainerReport]) -> Table {
    Table(
      columns: [
        Column(title: "ID"), Column(title: "POLICY"), Column(title: "CPU LIMIT", isNumber: true),
        Column(title: "CPU USED", isNumber: true),
        Column(title: "OF THE MOST IT GETS"),
        Column(title: "MEM LIMIT", isNumber: true), Column(title: "MEM USED", isNumber: true),
        Column(title: "APP"), Column(title: "SUPERVISOR"),
      ],
      rows: reports.map { report in
        let bar = bar(
          used: report.cpu.used ?? 0, limit: report.cpu.limit.value ?? report.ceiling,
          scale: report.ceiling, width: 22)
        return [
          report.shortID, report.policy, report.cpuLimitCell, report.cpuUsedCell,
          report.cpu.limit == .unknown ? "-" : bar, report.memoryLimitCell, report.memoryUsedCell,
          report.appCell, report.supervisorCell,
        ]
      })
  }
}

extension ContainerReport {
  /// The kernel's limit; under `observe` what it would be follows in parentheses, under `strict` it
  /// is the CPUs themselves.
  fileprivate var cpuLimitCell: String {
    if let ownCPUs, !isReleased { return "CPUs \(ownCPUs)" }
    let limit = Self.cell(cpu.limit, cores)
    guard policy == "observe", let wouldBe else { return limit }
    return "\(limit) (\(cores(wouldBe)))"
  }

  fileprivate var cpuUsedCell: String { cpu.used.map(cores) ?? "-" }
  fileprivate var memoryLimitCell: String { Self.cell(memory.limit, bytes) }
  fileprivate var memoryUsedCell: String { memory.used.map(bytes) ?? "-" }
  fileprivate var supervisorCell: String {
    supervisor.map { "\($0)" } ?? (isReleased ? "(released)" : "(none)")
  }
  /// Who was released is no member of anything.
  fileprivate var appCell: String { isReleased ? "-" : app ?? "-" }

  private static func cell<Number>(_ limit: Limit<Number>, _ text: (Number) -> String) -> String {
    switch limit {
    case .unknown: "-"
    case .unlimited: "none"
    case .at(let value): text(value)
    }
  }
}
