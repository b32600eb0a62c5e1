// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

extension Table {
  /// What `escra ps` prints.
  static func list(of reports: [ContainerReport]) -> Table {
    Table(
      columns: [
        Column(title: "NAME"), Column(title: "ID"), Column(title: "POLICY"), Column(title: "APP"),
        Column(title: "CPU DECLARED", isNumber: true), Column(title: "CPU LIMIT", isNumber: true),
        Column(title: "CPU USED", isNumber: true), Column(title: "MEM DECLARED", isNumber: true),
        Column(title: "MEM LIMIT", isNumber: true), Column(title: "MEM USED", isNumber: true),
        Column(title: "SOURCE"), Column(title: "MEM SOURCE"), Column(title: "SUPERVISOR"),
      ],
      rows: reports.map { report in
        [
          report.nameCell, report.shortID, report.policy.rawValue, report.appCell,
          report.cpu.declared.map(cores) ?? "none", report.cpuLimitCell, report.cpuUsedCell,
          report.memory.declared.map(bytes) ?? "none", report.memoryLimitCell,
          report.memoryUsedCell, report.source ?? "-",
          report.memorySource ?? "-", report.supervisorCell,
        ]
      })
  }

  /// What `escra ps` prints on a terminal: whole columns that fit, and which do not.
  static func list(of reports: [ContainerReport], columns width: Int) -> [String] {
    let reports = reports.map { report in
      var report = report
      // The other columns that are kept longest take 52 characters.
      report.name = ContainerName(elided(report.nameCell, to: max(12, width - 52)))
      return report
    }
    let (table, missing) = list(of: reports).fitting(
      width,
      leavingOut: [
        "MEM SOURCE", "SOURCE", "SUPERVISOR", "ID", "MEM DECLARED", "CPU DECLARED", "APP",
      ])
    if missing.isEmpty || reports.isEmpty { return table.lines }
    return table.lines
      + wrapped("Not shown: \(missing.joined(separator: ", ")); --wide shows all", to: width)
  }

  /// The text with "…" for its middle where it is too long: pods differ in their names' ends.
  static func elided(_ text: String, to width: Int) -> String {
    guard text.count > width, width > 4 else { return text }
    let head = (width - 1) / 3
    return text.prefix(head) + "…" + text.suffix(width - 1 - head)
  }

  /// Lines that fit a terminal: the rest of a long one is further to the right than its beginning.
  ///
  /// - Parameters:
  ///   - lines: Sentences, each behind as many spaces as there are.
  ///   - width: Characters of a line; nil for any number.
  /// - Returns: Lines of whole words.
  static func wrapped(_ lines: [String], to width: Int?) -> [String] {
    guard let width else { return lines }
    return lines.flatMap { line in
      guard line.count > width else { return [line] }
      let indent = String(line.prefix { $0 == " " })
      let parts = wrapped(line, to: max(20, width - indent.count - 2))
      return parts.enumerated().map { indent + ($0.offset == 0 ? "" : "  ") + $0.element }
    }
  }

  /// Text as lines of whole words.
  static func wrapped(_ text: String, to width: Int) -> [String] {
    var lines = [""]
    for word in text.split(separator: " ") {
      let last = lines[lines.count - 1]
      if last.isEmpty {
        lines[lines.count - 1] = String(word)
      } else if last.count + 1 + word.count <= width {
        lines[lines.count - 1] += " " + word
      } else {
        lines.append(String(word))
      }
    }
    return lines
  }
}

extension ContainerReport {
  /// The kernel's limit; under `observe` what it would be follows in parentheses, under `strict` it
  /// is the CPUs themselves.
  var cpuLimitCell: String {
    if let ownCPUs, !isReleased { return "CPUs \(ownCPUs)" }
    let limit = Self.cell(cpu.limit, cores)
    guard policy == .observe, let wouldBe else { return limit }
    return "\(limit) (\(cores(wouldBe)))"
  }

  var cpuUsedCell: String { cpu.used.map(cores) ?? "-" }
  var memoryLimitCell: String { Self.cell(memory.limit, bytes) }
  var memoryUsedCell: String { memory.used.map(bytes) ?? "-" }
  var supervisorCell: String {
    supervisor.map { "\($0)" }
      ?? (unsupervised != nil ? "(unsupervised)" : isReleased ? "(released)" : "(none)")
  }
  /// A released container is no member of an application.
  var appCell: String { isReleased ? "-" : app ?? "-" }

  private static func cell<Number>(_ limit: Limit<Number>, _ text: (Number) -> String) -> String {
    switch limit {
    case .unknown: "-"
    case .unlimited: "none"
    case .at(let value): text(value)
    }
  }
}
