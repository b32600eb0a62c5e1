// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// Walks the bytes of a TOML document once.
struct TOMLScanner {
  /// Why a document cannot be read.
  struct Failure: Error {
    let line: Int
    let problem: String
  }

  private let bytes: [UInt8]
  private var position = 0
  /// The table that keys are in.
  private var table: [String] = []
  private(set) var entries: [TOMLText.Entry] = []
  private(set) var headers: [(path: [String], line: Int)] = []
  private(set) var inlineTables: [[String]] = []

  init(_ text: String) { bytes = Array(text.utf8) }

  /// Whether a key may have this byte without quotes.
  static func isBare(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  /// The strings in the text of a value: one, or those of an array.
  static func strings(in value: String) -> [String] {
    var scanner = TOMLScanner(value)
    var found: [String] = []
    while let byte = scanner.peek {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
        // What follows an unclosed string is no string.
        guard let string = try? scanner.string() else { return found }
        found.append(string)
      } else if byte == UInt8(ascii: "#") {
        scanner.skipLine()
      } else {
        scanner.position += 1
      }
    }
    return found
  }

  /// Reads the whole document.
  mutating func scan() throws(Failure) {
    while true {
      skipSpace(lines: true)
      guard let byte = peek else { return }
      if byte == UInt8(ascii: "[") { try header() } else { try keyAndValue(in: table) }
      skipSpace(lines: false)
      if let byte = peek, byte != UInt8(ascii: "\n") {
        throw failure("there is something behind a value or a header")
      }
    }
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private func failure(_ problem: String) -> Failure {
    Failure(line: 1 + bytes[..<min(position, bytes.count)].count { $0 == 10 }, problem: problem)
  }

  private mutating func skipLine() {
    while let byte = peek, byte != UInt8(ascii: "\n") { position += 1 }
  }

  /// Skips spaces and a comment; with `lines` empty lines, too.
  private mutating func skipSpace(lines: Bool) {
    while let byte = peek {
      if byte == UInt8(ascii: "#") {
        skipLine()
      } else if byte == 32 || byte == 9 || byte == 13 || (lines && byte == 10) {
        position += 1
      } else {
        return
      }
    }
  }

  private mutating func pass(_ byte: Unicode.Scalar) throws(Failure) {
    guard peek == UInt8(ascii: byte) else { throw failure("'\(byte)' is missing") }
    position += 1
  }

  private mutating func header() throws(Failure) {
    let line = failure("").line
    position += 1
    let isArray = peek == UInt8(ascii: "[")
    if isArray { position += 1 }
    table = try key()
    try pass("]")
    if isArray {
      try pass("]")
      // Each element of an array of tables is one of its own.
      table.append("[\(headers.count)]")
    }
    headers.append((table, line))
  }

  private mutating func keyAndValue(in table: [String]) throws(Failure) {
    let path = table + (try key())
    try pass("=")
    skipSpace(lines: false)
    let start = position
    try value(of: path)
    entries.append(
      TOMLText.Entry(path: path, value: String(decoding: bytes[start..<position], as: UTF8.self)))
    if bytes[start] == UInt8(ascii: "{") { entries.removeLast() }
  }

  /// A key, maybe dotted, and the spaces around it.
  private mutating func key() throws(Failure) -> [String] {
    var parts: [String] = []
    while true {
      skipSpace(lines: false)
      guard let byte = peek else { throw failure("a key is missing") }
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
        parts.append(try string())
      } else {
        let start = position
        while let byte = peek, Self.isBare(byte) { position += 1 }
        guard position > start else { throw failure("a key is missing") }
        parts.append(String(decoding: bytes[start..<position], as: UTF8.self))
      }
      skipSpace(lines: false)
      guard peek == UInt8(ascii: ".") else { return parts }
      position += 1
    }
  }

  private mutating func value(of path: [String]) throws(Failure) {
    guard let byte = peek else { throw failure("a value is missing") }
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): _ = try string()
    case UInt8(ascii: "["):
      position += 1
      while true {
        skipSpace(lines: true)
        if peek == UInt8(ascii: "]") { break }
        try value(of: path + ["[]"])
        skipSpace(lines: true)
        guard peek == UInt8(ascii: ",") else { break }
        position += 1
      }
      try pass("]")
    case UInt8(ascii: "{"):
      inlineTables.append(path)
      position += 1
      while true {
        skipSpace(lines: true)
        if peek == UInt8(ascii: "}") { break }
        try keyAndValue(in: path)
        skipSpace(lines: true)
        guard peek == UInt8(ascii: ",") else { break }
        position += 1
      }
      try pass("}")
    default:
      let start = position
      while let byte = peek, !" \t\r\n,]}#".utf8.contains(byte) { position += 1 }
      if position == start { throw failure("a value is missing") }
    }
  }

  /// A string of any of the four kinds.
  private mutating func string() throws(Failure) -> String {
    let quote = bytes[position]
    let isLong = bytes[position...].starts(with: [quote, quote, quote])
    let end = [UInt8](repeating: quote, count: isLong ? 3 : 1)
    position += end.count
    var text: [UInt8] = []
    while !bytes[position...].starts(with: end) {
      guard let byte = peek, isLong || byte != UInt8(ascii: "\n") else {
        throw failure("a string does not end")
      }
      position += 1
      if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\""), let escaped = peek {
        position += 1
        text += Self.unescaped(escaped)
      } else {
        text.append(byte)
      }
    }
    position += end.count
    return String(decoding: text, as: UTF8.self)
  }

  /// The escapes of one letter; of any other one the letters stay as they are.
  private static func unescaped(_ letter: UInt8) -> [UInt8] {
    switch letter {
    case UInt8(ascii: "n"): [10]
    case UInt8(ascii: "t"): [9]
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): [letter]
    default: [UInt8(ascii: "\\"), letter]
    }
  }
}
