// SPDX-License-Identifier: Apache-2.0
internal import Application

/// The members of an object in a JSON text, and where they are in it: what an edit that keeps all other
/// bytes needs.
///
/// The text has been parsed before, so that it is known to be JSON.
struct JSONObject {
  /// One member.
  struct Member {
    let name: String
    /// From the name's quote to the value's end.
    let whole: Range<Int>
    let value: Range<Int>
  }

  /// The document.
  let bytes: [UInt8]
  /// Behind the opening brace up to the closing one.
  let inside: Range<Int>
  let members: [Member]

  /// Finds the object that a text is; nil for any other value.
  init?(_ text: String) {
    let bytes = Array(text.utf8)
    guard let start = bytes.firstIndex(where: { !Self.isSpace($0) }) else { return nil }
    self.init(bytes, at: start)
  }

  /// Finds the object that begins at a place; nil where another value does.
  init?(_ bytes: [UInt8], at start: Int) {
    guard start < bytes.count, bytes[start] == UInt8(ascii: "{") else { return nil }
    var members: [Member] = []
    var position = start + 1
    func skipSpace() {
      while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
    }
    while true {
      skipSpace()
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else { break }
      let first = position
      position = Self.end(of: bytes, from: position)
      let name = String(decoding: bytes[first + 1..<position - 1], as: UTF8.self)
      skipSpace()
      guard position < bytes.count, bytes[position] == UInt8(ascii: ":") else { return nil }
      position += 1
      skipSpace()
      let value = position
      position = Self.end(of: bytes, from: position)
      members.append(Member(name: name, whole: first..<position, value: value..<position))
      skipSpace()
      guard position < bytes.count, bytes[position] == UInt8(ascii: ",") else { break }
      position += 1
    }
    guard position < bytes.count, bytes[position] == UInt8(ascii: "}") else { return nil }
    (self.bytes, self.members, inside) = (bytes, members, start + 1..<position)
  }

  /// The object that a member is; nil where there is none.
  func object(_ name: String) -> JSONObject? {
    members.last { $0.name == name }.flatMap { JSONObject(bytes, at: $0.value.lowerBound) }
  }

  /// The document with text behind the opening brace.
  func inserting(_ text: String) -> String {
    Self.text(bytes[..<inside.lowerBound] + Array(text.utf8) + bytes[inside.lowerBound...])
  }

  /// The document without some members, the spaces before each of them and one comma.
  func removing(_ isRemoved: (Member) -> Bool) -> String {
    guard members.contains(where: isRemoved) else { return Self.text(bytes[...]) }
    var kept: [Range<Int>] = []
    for (index, member) in members.enumerated() where !isRemoved(member) {
      // With the spaces before it, which begin where the last member and its comma end.
      let start = index == 0 ? inside.lowerBound : comma(after: members[index - 1]) + 1
      kept.append(start..<member.whole.upperBound)
    }
    // Behind the last member there is what was there before our first one was.
    let tail = (members.last?.whole.upperBound ?? inside.lowerBound)..<inside.upperBound
    let inner = kept.map { bytes[$0] }.joined(separator: [UInt8(ascii: ",")])
    return Self.text(
      bytes[..<inside.lowerBound] + Array(inner) + bytes[tail] + bytes[inside.upperBound...])
  }

  private func comma(after member: Member) -> Int {
    bytes[member.whole.upperBound...].firstIndex(of: UInt8(ascii: ",")) ?? member.whole.upperBound
  }

  private static func text(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes, as: UTF8.self)
  }

  private static func isSpace(_ byte: UInt8) -> Bool { [9, 10, 13, 32].contains(byte) }

  /// Where the value ends that begins at a place.
  private static func end(of bytes: [UInt8], from start: Int) -> Int {
    var position = start
    var depth = 0
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        position += 1
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
          position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
        }
        if depth == 0 { return min(position + 1, bytes.count) }
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        if depth <= 1 { return depth == 0 ? position : position + 1 }
        depth -= 1
      case UInt8(ascii: ","), 9, 10, 13, 32: if depth == 0 { return position }
      default: break
      }
      position += 1
    }
    return position
  }
}
