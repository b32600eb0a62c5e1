// SPDX-License-Identifier: Apache-2.0

/// The part of a TOML file that `escra setup` wrote, between two comments.
///
/// Removing it restores the bytes that were there before, whatever has been written around it
/// since.
enum MarkedBlock {
  private static let begin = "# BEGIN escra-runc"
  private static let end = "# END escra-runc\n"

  /// Appends a block to a text that has none.
  ///
  /// - Parameters:
  ///   - lines: What is in the block.
  ///   - text: The file's text; nil for a file that is not there.
  ///   - engine: For the comment.
  /// - Returns: The text with the block.
  static func append(_ lines: [String], to text: String?, engine: String) -> String {
    // The first comment says what to take away with the block.
    let isCut = text.map { !$0.isEmpty && $0.utf8.last != 10 } ?? false
    let kind = text == nil ? " (new file)" : isCut ? " (and the line break before)" : ""
    return (text ?? "") + (isCut ? "\n" : "") + begin + kind
      + ": written by escra setup \(engine), removed by escra setup \(engine) --undo\n"
      + lines.map { $0 + "\n" }.joined() + end
  }

  /// The text without the block.
  ///
  /// - Parameters:
  ///   - text: The file's text.
  ///   - lines: What is left in its place.
  /// - Returns: nil for a file that the block was all of, and that was not there before.
  static func strip(_ text: String, leaving lines: [String] = []) -> String? {
    let bytes = Array(text.utf8)
    guard var from = start(of: begin, in: bytes, from: 0),
      let last = start(of: end, in: bytes, from: from)
    else { return text }
    let mark = String(
      decoding: bytes[from...].dropFirst(begin.utf8.count).prefix { $0 != UInt8(ascii: ":") },
      as: UTF8.self)
    let left = Array(lines.map { $0 + "\n" }.joined().utf8) + bytes[(last + end.utf8.count)...]
    if mark == " (and the line break before)", from > 0, left.isEmpty { from -= 1 }
    let rest = bytes[..<from] + left
    return rest.isEmpty && mark == " (new file)" ? nil : String(decoding: rest, as: UTF8.self)
  }

  /// What is in the block; nil for a text without one.
  static func contents(_ text: String) -> String? {
    let bytes = Array(text.utf8)
    guard let from = start(of: begin, in: bytes, from: 0),
      let last = start(of: end, in: bytes, from: from)
    else { return nil }
    return String(decoding: bytes[from..<last], as: UTF8.self)
  }

  /// Where a line begins with a text.
  private static func start(of text: String, in bytes: [UInt8], from: Int) -> Int? {
    let wanted = Array(text.utf8)
    var line = from
    while line < bytes.count {
      if bytes[line...].starts(with: wanted) { return line }
      guard let next = bytes[line...].firstIndex(of: 10) else { return nil }
      line = next + 1
    }
    return nil
  }
}
