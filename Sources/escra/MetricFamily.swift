// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// A text format that a metrics scraper reads.
enum MetricFormat: Sendable {
  /// Prometheus' own, 0.0.4.
  ///
  /// The node exporter's textfile collector reads no other: prometheus/node_exporter#1988.
  case prometheus
  /// OpenMetrics 1.0.
  case openMetrics

  /// The value of HTTP's Content-Type.
  var contentType: String {
    switch self {
    case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    }
  }
}

/// A metric family: series that share a name, a type, a unit and a description.
struct MetricFamily: Sendable {
  /// How its values behave.
  enum Kind: String {
    case gauge, counter, info

    /// What the name of a series has behind the family's name.
    var suffix: String {
      switch self {
      case .gauge: ""
      case .counter: "_total"
      case .info: "_info"
      }
    }
  }

  /// The name, which ends in the unit, without the suffix of its kind.
  let name: String
  /// How its values behave.
  let kind: Kind
  /// One sentence; the two formats do not agree on how to escape quotes and backslashes in it.
  let help: String

  /// The unit that the name ends in; nil for a number of things.
  var unit: String? {
    ["bytes", "cores", "seconds"].first { name.hasSuffix("_" + $0) }
  }

  /// Writes the family; one without series is left out.
  ///
  /// - Parameters:
  ///   - text: Gets it.
  ///   - format: The format.
  ///   - series: The labels as ``MetricLabels/text`` has them, and the value of each series: cores
  ///     and seconds in billionths. One whose value is nil is left out.
  func write(
    to text: inout String, _ format: MetricFormat,
    _ series: some Sequence<(labels: String, value: Int64?)>
  ) {
    let isFraction = unit == "cores" || unit == "seconds"
    var isFirst = true
    for (labels, value) in series {
      guard let value else { continue }
      if isFirst { writeHead(to: &text, format) }
      isFirst = false
      text += name
      text += kind.suffix
      text += labels
      text += " "
      text += String(isFraction ? value / 1_000_000_000 : value)
      if isFraction { text += "." + padded(value % 1_000_000_000, 9) }
      text += "\n"
    }
  }

  private func writeHead(to text: inout String, _ format: MetricFormat) {
    switch format {
    case .openMetrics:
      text += "# TYPE \(name) \(kind.rawValue)\n"
      if let unit { text += "# UNIT \(name) \(unit)\n" }
      text += "# HELP \(name) \(help)\n"
    case .prometheus:
      // It knows no info, and describes each series' name.
      let type = kind == .info ? Kind.gauge : kind
      text +=
        "# HELP \(name)\(kind.suffix) \(help)\n# TYPE \(name)\(kind.suffix) \(type.rawValue)\n"
    }
  }
}

/// The labels of a series.
struct MetricLabels {
  /// `{name="value",…}`; empty without labels.
  let text: String

  /// Labels in this order; one whose value is nil or empty is the same as none, and is left out.
  init(_ labels: [(name: String, value: String?)]) {
    var text = ""
    for (name, value) in labels {
      guard let value, !value.isEmpty else { continue }
      text += (text.isEmpty ? "" : ",") + "\(name)=\"\(Self.escaped(value))\""
    }
    self.text = text.isEmpty ? "" : "{\(text)}"
  }

  /// A value as both formats want it: backslash, quote and line feed are escaped.
  static func escaped(_ value: String) -> String {
    guard value.utf8.contains(where: { [10, 34, 92].contains($0) }) else { return value }
    var text = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": text += "\\\\"
      case "\"": text += "\\\""
      case "\n": text += "\\n"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
