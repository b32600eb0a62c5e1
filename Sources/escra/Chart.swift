// SPDX-License-Identifier: Apache-2.0

/// A line that shows use and limit: `#` is used, `-` is reserved and not used, `|` is the limit.
///
/// - Parameters:
///   - used: CPUs used.
///   - limit: CPUs allowed.
///   - scale: CPUs at the right end.
///   - width: Characters, brackets included.
/// - Returns: `[###----|      ]`.
func bar(used: Double, limit: Double, scale: Double, width: Int) -> String {
  let inner = max(1, width - 2)
  func place(_ value: Double) -> Int {
    scale > 0 ? min(inner, max(0, Int((value / scale * Double(inner)).rounded()))) : 0
  }
  // The limit's mark takes the last place below it, and one place always.
  let mark = max(0, place(limit) - 1)
  let filled = place(used)
  let cells = (0..<inner).map { index -> Character in
    if index == mark { return "|" }
    return index < filled ? "#" : index < mark ? "-" : " "
  }
  return "[" + String(cells) + "]"
}

/// Use and limit over time: a column a sample, `#` is used, `=` is the limit.
struct Chart {
  /// One moment.
  struct Sample: Equatable {
    /// CPUs used since the last one.
    var used: Double
    /// CPUs allowed.
    var limit: Double
  }

  /// CPUs at the top.
  let scale: Double
  /// Rows.
  let height: Int

  /// The chart's lines, the newest sample rightmost.
  ///
  /// - Parameters:
  ///   - samples: All there are; where they do not fit, neighbours share a column.
  ///   - width: Characters of a line.
  /// - Returns: As many lines as the chart is high, and a base line.
  func lines(_ samples: [Sample], width: Int) -> [String] {
    let margin = 7
    let shown = Self.condensed(samples, to: max(1, width - margin))
    let step = scale / Double(height)
    let rows = (1...height).reversed().map { row in
      let label = fixed(step * Double(row), 2)
      let cells = shown.map { sample -> Character in
        if self.row(of: sample.limit) == row { return "=" }
        return sample.used >= step * (Double(row) - 0.5) ? "#" : " "
      }
      let axis = String(repeating: " ", count: max(0, margin - 2 - label.utf8.count)) + label + " |"
      return axis + String(cells)
    }
    return rows + [" 0.00 +" + String(repeating: "-", count: shown.count)]
  }

  /// At most so many samples: each the mean of as many neighbours.
  static func condensed(_ samples: [Sample], to count: Int) -> [Sample] {
    let share = (samples.count + count - 1) / count
    guard share > 1 else { return samples }
    return stride(from: 0, to: samples.count, by: share).map { start in
      let group = samples[start..<min(start + share, samples.count)]
      return Sample(
        used: group.reduce(0) { $0 + $1.used } / Double(group.count),
        limit: group.reduce(0) { $0 + $1.limit } / Double(group.count))
    }
  }

  /// The row that a value lies in, from 1; what is beyond the top lies in the topmost.
  private func row(of value: Double) -> Int {
    guard scale > 0, value.isFinite else { return height }
    return min(height, max(1, Int((value / scale * Double(height)).rounded(.up))))
  }
}
