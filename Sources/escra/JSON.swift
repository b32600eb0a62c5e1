// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// A JSON value to be written (RFC 8259); members keep their order.
enum JSON: Equatable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// A number of at most six decimals, which is a microsecond of a second's CPU time.
  case number(Double)
  case string(String)
  case array([JSON])
  case object([(name: String, value: JSON)])

  /// The number, or null.
  static func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
  /// The integer, or null.
  static func optional(_ value: (some BinaryInteger)?) -> JSON {
    value.map { .integer(Int64($0)) } ?? .null
  }
  /// The string, or null.
  static func optional(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }

  /// The value's text, two spaces a level, so that people can read it and programs do not mind.
  var text: String {
    var text = ""
    write(to: &text, indent: "\n")
    return text
  }

  /// The value's text in one line, as JSON lines want it.
  var line: String {
    var text = ""
    write(to: &text, indent: "")
    return text
  }

  /// Writes it behind `text`; `indent` is the line break before its members, "" for none at all.
  private func write(to text: inout String, indent: String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .number(let value): text += trimmed(value, 6)
    case .string(let value): text += jsonLiteral(value)
    case .array(let values):
      Self.list(values, "[", "]", to: &text, indent: indent) { value, text, inner in
        value.write(to: &text, indent: inner)
      }
    case .object(let members):
      Self.list(members, "{", "}", to: &text, indent: indent) { member, text, inner in
        text += jsonLiteral(member.name) + ": "
        member.value.write(to: &text, indent: inner)
      }
    }
  }

  private static func list<Element>(
    _ elements: [Element], _ open: String, _ close: String, to text: inout String,
    indent: String, _ write: (Element, inout String, String) -> Void
  ) {
    let inner = indent.isEmpty ? "" : indent + "  "
    text += open
    for (index, element) in elements.enumerated() {
      text += (index > 0 ? "," : "") + inner
      write(element, &text, inner)
    }
    if !elements.isEmpty { text += indent }
    text += close
  }

  static func == (left: JSON, right: JSON) -> Bool { left.text == right.text }
}
