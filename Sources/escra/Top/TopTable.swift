// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

extension Table {
  /// What `escra top` prints: less text than `escra ps`, and a bar.
  ///
  /// - Parameters:
  ///   - rows: The containers and applications.
  ///   - width: Characters of the bar.
  ///   - names: Characters of a name at most.
  /// - Returns: The table.
  static func top(of rows: [TopView.Row], bar width: Int = 22, names: Int = .max) -> Table {
    Table(
      columns: [
        Column(title: "NAME"), Column(title: "POLICY"),
        Column(title: "CPU LIMIT", isNumber: true), Column(title: "CPU USED", isNumber: true),
        Column(title: barTitle(width)),
        Column(title: "MEM LIMIT", isNumber: true), Column(title: "MEM USED", isNumber: true),
        Column(title: "APP"), Column(title: "SUPERVISOR"),
      ],
      rows: rows.map { row in
        let report = row.report
        let bar = bar(
          used: report.cpu.used ?? 0, limit: report.cpu.limit.value ?? report.ceiling,
          scale: report.ceiling, width: width)
        return [
          name(row, names), row.members == nil ? report.policy.rawValue : "app",
          report.cpuLimitCell, report.cpuUsedCell,
          report.cpu.limit == .unknown ? "-" : bar, report.memoryLimitCell, report.memoryUsedCell,
          report.appCell, row.members == nil ? report.supervisorCell : "-",
        ]
      })
  }

  /// An application's row says how many members it has; they are indented below it.
  private static func name(_ row: TopView.Row, _ width: Int) -> String {
    let count = row.members.map { $0 == 1 ? " (1 member)" : " (\($0) members)" } ?? ""
    let indent = row.isMember ? "  " : ""
    return indent
      + elided(row.report.nameCell, to: max(8, width - count.count - indent.count)) + count
  }

  private static func barTitle(_ width: Int) -> String {
    width < 20 ? "OF MAXIMUM" : "OF ITS MAXIMUM"
  }

  /// What `escra top` shows on a screen.
  ///
  /// - Parameters:
  ///   - view: What is asked for; its offset is brought to where there are rows.
  ///   - reports: The containers.
  ///   - columns: Characters of a line.
  ///   - lines: Lines there are for it.
  ///   - note: The last line, if there is space.
  /// - Returns: A header, rows, and last what there is to say; at most so many lines.
  static func top(
    _ view: inout TopView, of reports: [ContainerReport], columns: Int, lines: Int,
    note: String = ""
  ) -> [String] {
    let rows = view.rows(of: reports)
    // The other columns that 80 characters have room for take 56.
    let full = top(of: rows, names: max(16, columns - 56))
    let isWide = full.lines.allSatisfy { $0.count <= columns }
    let (table, missing) =
      isWide
      ? (full, [])
      : top(of: rows, bar: 10, names: max(16, columns - 56)).fitting(
        columns,
        leavingOut: [
          "SUPERVISOR", "APP", "POLICY", "MEM USED", barTitle(10), "CPU USED", "MEM LIMIT",
        ])
    let page = max(1, lines - 2)
    view.bound(rows: rows.count, page: page)
    let all = table.lines
    let shown = all.dropFirst().dropFirst(view.offset).prefix(page)
    let hidden = missing.isEmpty ? "" : "Not shown: \(missing.joined(separator: ", "))."
    // One line, but for a screen that has room for more.
    let footer = [status(view, shown: shown.count, rows: rows.count), hidden, note]
      .filter { !$0.isEmpty }.flatMap { wrapped($0, to: columns) }
    return Array(all.prefix(1) + shown + footer.prefix(max(1, lines - 1 - shown.count)))
  }

  /// Which rows are shown of how many, and which keys there are.
  private static func status(_ view: TopView, shown: Int, rows: Int) -> String {
    if view.isTyping { return "Filter: \(view.filter)_ (Enter keeps it, Esc clears it)" }
    let place =
      shown == rows
      ? "\(rows) row\(rows == 1 ? "" : "s")"
      : "\(view.offset + 1)-\(view.offset + shown) of \(rows)"
    let filter = view.filter.isEmpty ? "" : " with \"\(view.filter)\""
    let order = "by \(view.order.title)" + (view.isReversed ? ", reversed" : "")
    return "\(place)\(filter) \(order). Sort n c l m r, filter /, apps a, scroll arrows, end q."
  }
}
