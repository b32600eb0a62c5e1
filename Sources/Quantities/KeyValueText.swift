// SPDX-License-Identifier: Apache-2.0

/// Lines of `name=value`, in order: the form of every small file under /run/escra.
///
/// Made for files that another version of this program, or a person, may read: unknown names are
/// kept out of the way, a missing one is nil. `%`, newline and NUL are escaped as `%XX`.
package struct KeyValueText {
  private var values: [String: String] = [:]

  /// No lines.
  package init() {}

  /// Reads lines; one without a `=` is passed over.
  package init(_ text: String) {
    for line in text.split(at: "\n") {
      guard let equals = line.utf8.firstIndex(of: UInt8(ascii: "=")) else { continue }
      values[String(line[..<equals])] = Self.unescape(line[line.utf8.index(after: equals)...])
    }
  }

  /// The value of a name; nil if there is no such line.
  package subscript(name: String) -> String? {
    get { values[name] }
    set { values[name] = newValue }
  }

  /// The value of a name as a number; nil if there is none.
  package subscript(int name: String) -> Int64? {
    get { values[name].flatMap { Int64($0) } }
    set { values[name] = newValue.map { "\($0)" } }
  }

  /// The lines, sorted, so that equal contents are equal bytes.
  package var text: String {
    var text = ""
    for name in values.keys.sorted() {
      text += name
      text += "="
      text += Self.escape(values[name] ?? "")
      text += "\n"
    }
    return text
  }

  private static func escape(_ value: String) -> String {
    guard value.utf8.contains(where: { $0 == 10 || $0 == 37 || $0 == 0 }) else { return value }
    var bytes: [UInt8] = []
    for byte in value.utf8 {
      switch byte {
      case 10: bytes += Array("%0A".utf8)
      case 37: bytes += Array("%25".utf8)
      case 0: bytes += Array("%00".utf8)
      default: bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func unescape(_ value: Substring) -> String {
    guard value.utf8.contains(37) else { return String(value) }
    var bytes: [UInt8] = []
    var rest = value.utf8[...]
    while let byte = rest.popFirst() {
      if byte == 37, rest.count >= 2,
        let value = UInt8(String(decoding: Array(rest.prefix(2)), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
