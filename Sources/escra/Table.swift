// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// Rows under a header, each column as wide as its widest cell.
struct Table {
  /// A column's title, and on which side its cells are flush.
  struct Column {
    let title: String
    var isNumber = false
  }

  let columns: [Column]
  var rows: [[String]] = []

  /// The header and the rows; two spaces between columns, none at the end of a line.
  var lines: [String] {
    let cells = [columns.map(\.title)] + rows.map { $0.map(Self.printable) }
    let widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
    return cells.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let space = String(repeating: " ", count: widths[column] - cell.count)
        line += (column > 0 ? "  " : "") + (columns[column].isNumber ? space + cell : cell + space)
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  /// The same without some columns, by title.
  func leavingOut(_ titles: [String]) -> Table {
    let kept = columns.indices.filter { !titles.contains(columns[$0].title) }
    return Table(columns: kept.map { columns[$0] }, rows: rows.map { row in kept.map { row[$0] } })
  }

  /// Leaves out one column after the other until the lines are at most so wide.
  ///
  /// - Parameters:
  ///   - width: Characters of a line.
  ///   - titles: What may be left out, the least important first.
  /// - Returns: The table, and which columns it lacks.
  func fitting(_ width: Int, leavingOut titles: [String]) -> (table: Table, missing: [String]) {
    for count in 0...titles.count {
      let table = leavingOut(Array(titles.prefix(count)))
      if count == titles.count || table.lines.allSatisfy({ $0.count <= width }) {
        return (table, Array(titles.prefix(count)))
      }
    }
    return (self, [])
  }

  /// The text without what a terminal would take for an order.
  static func printable(_ text: String) -> String {
    var printable = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      let isControl = scalar.value < 32 || (127..<160).contains(scalar.value)
      printable.append(isControl ? "?" : scalar)
    }
    return String(printable)
  }
}
