// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// A TOML document (toml.io, 1.0) as its keys with the text of their values, in the order written.
///
/// It is read to know what is there; edits are made to the text itself, so that comments, order and
/// spelling stay. Engines check values, so that this reader takes any.
struct TOMLText {
  /// A key with a value that is no table.
  struct Entry: Equatable {
    let path: [String]
    /// The value as it is written.
    let value: String
  }

  /// All keys; those of inline tables, too.
  private(set) var entries: [Entry] = []
  /// The tables that have a header, and the lines of these.
  private(set) var headers: [(path: [String], line: Int)] = []
  /// The tables that are written inline, to which nothing can be added.
  private(set) var inlineTables: [[String]] = []

  /// Reads a document.
  ///
  /// - Throws: ``Complaint`` that names the file and the line.
  init(_ text: String, path: String) throws(Complaint) {
    var scanner = TOMLScanner(text)
    do throws(TOMLScanner.Failure) { try scanner.scan() } catch {
      throw Complaint("\(path), line \(error.line): \(error.problem); mend it first")
    }
    (entries, headers, inlineTables) = (scanner.entries, scanner.headers, scanner.inlineTables)
  }

  /// The text of a value; of a key that comes twice the last one.
  subscript(path: [String]) -> String? { entries.last { $0.path == path }?.value }

  /// Whether there is a table of this path, or a key below it.
  func has(_ path: [String]) -> Bool {
    entries.contains { $0.path.starts(with: path) }
      || headers.contains { $0.path.starts(with: path) }
  }

  /// The line of the first header of a table or of one below it.
  func line(of path: [String]) -> Int? { headers.first { $0.path.starts(with: path) }?.line }

  /// The keys below a path, without it, in the order written.
  func below(_ path: [String]) -> [Entry] {
    entries.filter { $0.path.starts(with: path) && $0.path.count > path.count }
      .map { Entry(path: Array($0.path.dropFirst(path.count)), value: $0.value) }
  }

  /// The names of the tables right below a path.
  func tables(in path: [String]) -> [String] {
    var names: [String] = []
    let deeper = entries.map { $0.path.dropLast() } + headers.map { $0.path[...] }
    for one in deeper where one.starts(with: path) && one.count > path.count {
      if !names.contains(one[path.count]) { names.append(one[path.count]) }
    }
    return names
  }

  /// A string or an array of strings: the strings of a value's text.
  func strings(_ path: [String]) -> [String] {
    self[path].map { TOMLScanner.strings(in: $0) } ?? []
  }

  /// The path of a table as a header has it.
  static func header(_ path: [String]) -> String {
    "[" + path.map(quotedKey).joined(separator: ".") + "]"
  }

  /// A key, quoted if it has to be.
  static func quotedKey(_ key: String) -> String {
    let isBare = !key.isEmpty && key.utf8.allSatisfy(TOMLScanner.isBare)
    return isBare ? key : quoted(key)
  }

  /// A basic string.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\0"..<" ", "\u{7f}":
        let hex = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }

  /// An array of strings.
  static func array(_ strings: [String]) -> String {
    "[" + strings.map(quoted).joined(separator: ", ") + "]"
  }
}
