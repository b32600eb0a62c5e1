// SPDX-License-Identifier: Apache-2.0
internal import CJansson
internal import Glibc

/// A JSON text that did not parse: where, and what the parser says of it.
package struct JSONSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The line, from 1.
  package let line: Int
  /// The column in bytes, from 1; 0 before the first byte of a line.
  package let column: Int
  /// Jansson's own words.
  package let problem: String

  /// "line 3, column 14: duplicate object key near '"law"'".
  package var description: String { "line \(line), column \(column): \(problem)" }
}

/// A JSON value that knows where it stands in its document; a thin layer on Jansson.
///
/// Every value holds a reference of its own (json_incref), so none can outlive what it points to
/// and the document goes with its last value.
package struct JSONValue: ~Copyable {
  private let json: UnsafeMutablePointer<json_t>

  /// Where the value stands, for error messages: `floor.cpu`, `runtimes[0]`; empty for the root.
  package let path: String

  /// Parses a document, whose root is an object or an array; a key that comes twice is an error,
  /// and so is an integer that does not fit an `Int64`.
  ///
  /// - Throws: ``JSONSyntaxError`` with line and column.
  package init(parsing bytes: [UInt8]) throws(JSONSyntaxError) {
    var error = json_error_t()
    let root = bytes.withUnsafeBytes { buffer in
      json_loadb(
        buffer.baseAddress?.assumingMemoryBound(to: CChar.self), buffer.count,
        Int(JSON_REJECT_DUPLICATES), &error)
    }
    guard let root else {
      let problem = withUnsafeBytes(of: error.text) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      throw JSONSyntaxError(line: Int(error.line), column: Int(error.column), problem: problem)
    }
    json = root
    path = ""
  }

  /// Parses a document that another program wrote, if it is JSON.
  package static func ifValid(_ bytes: [UInt8]) -> JSONValue? {
    // What is not JSON has none of what is looked for.
    try? JSONValue(parsing: bytes)
  }

  private init(retaining json: UnsafeMutablePointer<json_t>, path: String) {
    self.json = json_incref(json)
    self.path = path
  }

  deinit { json_decref(json) }

  /// The text of a string; nil for any other type.
  package var string: String? {
    guard json.pointee.type == JSON_STRING, let text = json_string_value(json) else { return nil }
    return String(cString: text)
  }

  /// The value of an integer; nil for any other type, reals too.
  package var integer: Int64? {
    json.pointee.type == JSON_INTEGER ? Int64(json_integer_value(json)) : nil
  }

  /// Whether it is `true`.
  package var isTrue: Bool { json.pointee.type == JSON_TRUE }

  /// Whether it is an object.
  package var isObject: Bool { json.pointee.type == JSON_OBJECT }

  /// Whether it is an array.
  package var isArray: Bool { json.pointee.type == JSON_ARRAY }

  /// Calls `body` with every member of an object, in the order written; with none for any other
  /// type.
  package func forEachMember<Failure: Error>(
    _ body: (_ key: String, _ value: borrowing JSONValue) throws(Failure) -> Void
  ) throws(Failure) {
    var member = json_object_iter(json)
    while let current = member {
      if let key = json_object_iter_key(current), let value = json_object_iter_value(current) {
        let key = String(cString: key)
        try body(key, JSONValue(retaining: value, path: path.isEmpty ? key : "\(path).\(key)"))
      }
      member = json_object_iter_next(json, current)
    }
  }

  /// Calls `body` with every element of an array; with none for any other type.
  package func forEachElement<Failure: Error>(
    _ body: (borrowing JSONValue) throws(Failure) -> Void
  ) throws(Failure) {
    for index in 0..<json_array_size(json) {
      guard let element = json_array_get(json, index) else { return }
      try body(JSONValue(retaining: element, path: "\(path)[\(index)]"))
    }
  }

  /// The value as compact JSON.
  package var compact: [UInt8] {
    guard let text = json_dumps(json, Int(JSON_ENCODE_ANY | JSON_COMPACT)) else { return [] }
    defer { free(text) }
    return Array(String(cString: text).utf8)
  }

  /// The value as an error message shows it: a string quoted and escaped, anything else as
  /// compact JSON, cut like ``quoted(_:)`` does.
  package var shown: String {
    if let string { return quoted(string) }
    guard let text = json_dumps(json, Int(JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII))
    else { return "?" }
    defer { free(text) }
    let full = String(cString: text)
    return full.utf8.count <= 64 ? full : "\(full.prefix(64))..."
  }
}
