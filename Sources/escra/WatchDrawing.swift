// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// What was seen of a cgroup from the first to the last look.
struct WatchTotals: Equatable {
  private(set) var seconds = 0.0
  private(set) var used = 0.0
  private(set) var reserved = 0.0
  private let throttledStart: Nanoseconds
  var throttledEnd: Nanoseconds

  /// Starts at a reading of the throttled time.
  init(throttled: Nanoseconds) {
    throttledStart = throttled
    throttledEnd = throttled
  }

  /// Takes a look: all in nanoseconds since the first, `reserved` in core nanoseconds.
  mutating func take(used: Nanoseconds, reserved: Double, elapsed: Nanoseconds) {
    self.used = Double(used) / 1e9
    self.reserved = reserved / 1e9
    seconds = Double(elapsed) / 1e9
  }

  /// The limit minus the use, over time, in core seconds.
  var unused: Double { max(0, reserved - used) }

  /// For how long tasks had work and no quota, in seconds, summed over CPUs.
  var throttled: Double { Double(throttledEnd - throttledStart) / 1e9 }

  /// The totals for people.
  var lines: [String] {
    [
      "\(fixed(seconds, 1)) s: \(fixed(reserved, 1)) core seconds reserved, "
        + "\(fixed(used, 1)) used, \(fixed(unused, 1)) reserved and not used; "
        + "throttled for \(fixed(throttled, 2)) s"
    ]
  }

  /// The totals for programs.
  var pairs: [(name: String, value: Double)] {
    [
      ("seconds", seconds), ("used", used), ("reserved", reserved), ("unused", unused),
      ("throttled", throttled),
    ]
  }
}

/// Draws samples: again and again in the same place of a terminal, else a line each.
final class WatchDrawing {
  private let title: String
  private let chart: Chart
  private let isTerminal: Bool
  private var hasDrawn = false

  init(title: String, chart: Chart, isTerminal: Bool) {
    self.title = title
    self.chart = chart
    self.isTerminal = isTerminal
  }

  func draw(_ samples: [Chart.Sample], elapsed: Nanoseconds) throws(Complaint) {
    guard let last = samples.last else { return }
    let line = Self.line(last, elapsed: elapsed, scale: chart.scale)
    guard isTerminal else {
      if !hasDrawn { try Output.write(title + "\n") }
      hasDrawn = true
      return try Output.write(line + "\n")
    }
    let columns = Output.size.columns
    let lines = ([title] + chart.lines(samples, width: columns) + [line]).map {
      $0.prefix(columns) + "\u{1b}[K\n"
    }
    // Up over what was drawn before.
    try Output.write((hasDrawn ? "\u{1b}[\(lines.count)F" : "") + lines.joined())
    hasDrawn = true
  }

  /// One sample as a line.
  static func line(_ sample: Chart.Sample, elapsed: Nanoseconds, scale: Double) -> String {
    let seconds = fixed(Double(elapsed) / 1e9, 1)
    return String(repeating: " ", count: max(0, 6 - seconds.utf8.count)) + seconds
      + " s  limit \(cores(sample.limit))  used \(cores(sample.used))  "
      + bar(used: sample.used, limit: sample.limit, scale: scale, width: 42)
  }
}
