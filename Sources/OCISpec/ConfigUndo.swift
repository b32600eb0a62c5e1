// SPDX-License-Identifier: Apache-2.0

extension ConfigEdit {
  /// Takes an edit out of a document that another program has rewritten since.
  ///
  /// A member that still has the value that the edit gave it gets the original's text, or goes where
  /// the original has none; what the other program wrote stays.
  ///
  /// - Parameters:
  ///   - members: What the edit wrote.
  ///   - bytes: The document as it is.
  ///   - original: The document before the edit.
  /// - Returns: The document without them; nil where none of them is in it, or it cannot be read.
  static func undo(
    _ members: [EditRecord.Member], in bytes: [UInt8], original: [UInt8]
  ) -> [UInt8]? {
    guard let before = spans(of: original) else { return nil }
    var result = bytes
    for member in members {
      guard let now = spans(of: result) else { return nil }
      let span = now[member.place]
      let old = before[member.place]
      guard span.kind != .absent, result[span.range].elementsEqual(member.literal.utf8) else {
        continue
      }
      if old.kind == .absent {
        result.removeSubrange(extent(of: member.place, in: result, now, before))
      } else {
        result.replaceSubrange(span.range, with: original[old.range])
      }
    }
    return result == bytes ? nil : result
  }

  private static func spans(of bytes: [UInt8]) -> JSONSpans? {
    // What is not JSON any more is not ours to undo.
    bytes.withUnsafeBytes { try? JSONScanner.scan($0, as: .document) }
  }

  /// The bytes to remove for a member to be gone: its name, its value, a comma, and the objects
  /// around it that the original does not have and that hold nothing else.
  private static func extent(
    of place: JSONPlace, in bytes: [UInt8], _ now: JSONSpans, _ before: JSONSpans
  ) -> Range<Int> {
    let value = now[place].range
    let start = startOfName(before: value.lowerBound, in: bytes)
    let next = bytes[value.upperBound...].firstIndex { !isSpace($0) } ?? value.upperBound
    let previous = bytes[..<start].lastIndex { !isSpace($0) } ?? start
    if bytes[next] == UInt8(ascii: ",") { return start..<next + 1 }
    if bytes[previous] == UInt8(ascii: ",") { return previous..<value.upperBound }
    let parent = place.parent
    return parent == .document || before[parent].kind != .absent
      ? start..<value.upperBound : extent(of: parent, in: bytes, now, before)
  }

  /// Where the name of a member begins whose value begins at a position.
  private static func startOfName(before value: Int, in bytes: [UInt8]) -> Int {
    // The closing quote is the last one in front of the colon.
    guard let close = bytes[..<value].lastIndex(of: UInt8(ascii: "\"")) else { return value }
    var open = close - 1
    while open > 0, bytes[open] != UInt8(ascii: "\"") || bytes[open - 1] == UInt8(ascii: "\\") {
      open -= 1
    }
    return open
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte <= 0x20 }
}
