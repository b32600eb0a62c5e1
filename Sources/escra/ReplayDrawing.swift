// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities

extension ReplayReport {
  /// A drawing of demand and limits over time, as SVG: a column shows the most of its time.
  var svg: [String] {
    let (width, height, left, top) = (720.0, 240.0, 48.0, 16.0 + 16 * Double(rows.count))
    let columns = 600
    let demand = demand(columns)
    let limits = rows.dropFirst().map { (name: $0.name, columns: highest($0.outcome, columns)) }
    let most = max(0.01, (demand + limits.flatMap(\.columns)).max() ?? 0) * 1.05
    func point(_ column: Int, _ cores: Double) -> String {
      fixed(left + Double(column) * (width - left - 8) / Double(columns), 1) + ","
        + fixed(top + height * (1 - cores / most), 1)
    }
    func steps(_ values: [Double]) -> String {
      values.enumerated().map { point($0, $1) + " " + point($0 + 1, $1) }.joined(separator: " ")
    }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(fixed(width, 0)) "
        + "\(fixed(top + height + 28, 0))\" font-family=\"sans-serif\" font-size=\"11\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      "<polygon fill=\"#c9d8ea\" points=\"\(point(0, 0)) \(steps(demand)) \(point(columns, 0))\"/>",
    ]
    lines += legend(0, "demand", "#c9d8ea")
    for (index, limit) in limits.enumerated() {
      let color = Self.colors[index % Self.colors.count]
      lines.append(
        "<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.2\" points=\""
          + steps(limit.columns) + "\"/>")
      lines += legend(index + 1, limit.name, color)
    }
    for tick in 0...4 {
      let value = most / 1.05 * Double(tick) / 4
      let y = fixed(top + height * (1 - value / most), 1)
      lines += [
        "<line x1=\"\(fixed(left, 0))\" x2=\"\(fixed(width - 8, 0))\" y1=\"\(y)\" y2=\"\(y)\" "
          + "stroke=\"#dddddd\" stroke-width=\"0.5\"/>",
        "<text x=\"\(fixed(left - 6, 0))\" y=\"\(y)\" text-anchor=\"end\">\(cores(value))</text>",
      ]
    }
    lines += [
      "<text x=\"\(fixed(left, 0))\" y=\"\(fixed(top + height + 18, 0))\">cores over "
        + "\(span(Double(trace.duration) / 1e9))</text>", "</svg>",
    ]
    return lines
  }

  private static let colors = ["#c0392b", "#2471a3", "#1e8449", "#b9770e", "#6c3483"]

  private func legend(_ index: Int, _ name: String, _ color: String) -> [String] {
    let y = 14 + 16 * index
    return [
      "<rect x=\"48\" y=\"\(y - 8)\" width=\"12\" height=\"8\" fill=\"\(color)\"/>",
      "<text x=\"66\" y=\"\(y)\">\(name)</text>",
    ]
  }

  /// The most that a period of each column's time used, in cores.
  private func demand(_ columns: Int) -> [Double] {
    var found = [Double](repeating: 0, count: columns)
    func note(_ period: Int64, _ use: Nanoseconds) {
      let cores = Double(use) / Double(trace.period)
      let last = column(of: (period + 1) * trace.period - 1, columns)
      for column in column(of: period * trace.period, columns)...last {
        found[column] = max(found[column], cores)
      }
    }
    var (period, use): (Int64, Nanoseconds) = (0, 0)
    for piece in trace.pieces {
      let next = piece.start / trace.period
      if next != period {
        note(period, use)
        (period, use) = (next, 0)
      }
      use += piece.use
    }
    note(period, use)
    return found
  }

  /// The highest limit of each column's time, in cores.
  private func highest(_ outcome: Replay.Outcome, _ columns: Int) -> [Double] {
    var found = [Double](repeating: 0, count: columns)
    for (index, change) in outcome.limits.enumerated() {
      let end = index + 1 < outcome.limits.count ? outcome.limits[index + 1].time : trace.duration
      let last = column(of: max(change.time, end - 1), columns)
      for column in column(of: change.time, columns)...last {
        found[column] = max(found[column], Double(change.limit) / 1e9)
      }
    }
    return found
  }

  private func column(of time: Nanoseconds, _ columns: Int) -> Int {
    let place = Double(time) / max(1, Double(trace.duration)) * Double(columns)
    return min(columns - 1, max(0, Int(place)))
  }
}
