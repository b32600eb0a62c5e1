// SPDX-License-Identifier: Apache-2.0
internal import CJansson

/// The bytes between the quotes of a member's name.
struct JSONKey {
  let bytes: UnsafeRawBufferPointer

  /// Whether Go would decode this member into the field of that name: equal once escapes are
  /// resolved, or equal but for case.
  ///
  /// Unicode folds two more characters onto ASCII letters, and so does Go (encoding/json fold.go):
  /// the Kelvin sign onto k and the long s onto s.
  func names(_ field: StaticString) -> Bool {
    let name = UnsafeRawBufferPointer(
      start: field.utf8Start, count: field.utf8CodeUnitCount)
    if bytes.count < name.count { return false }
    var position = 0
    for letter in name {
      guard let next = letter32(&position), lower(next) == lower(UInt32(letter)) else {
        return false
      }
    }
    return position == bytes.count
  }

  /// Whether the raw bytes begin with `prefix`, byte by byte as a map's key is compared.
  func hasPrefix(_ prefix: StaticString) -> Bool {
    let count = prefix.utf8CodeUnitCount
    if bytes.count < count { return false }
    for index in 0..<count where bytes[index] != prefix.utf8Start[index] { return false }
    return true
  }

  /// The character at a position if it can stand for an ASCII letter; moves past it.
  private func letter32(_ position: inout Int) -> UInt32? {
    let rest = bytes[position...]
    switch rest.first {
    case UInt8(ascii: "\\"):
      // Of the escapes only \u can spell a letter.
      guard rest.count >= 6, rest[position + 1] == UInt8(ascii: "u") else { return nil }
      defer { position += 6 }
      return rest[position + 2..<position + 6].reduce(0) { $0 << 4 | hexDigit($1) }
    case 0xC5 where rest.starts(with: [0xC5, 0xBF]):
      position += 2
      return 0x17F
    case 0xE2 where rest.starts(with: [0xE2, 0x84, 0xAA]):
      position += 3
      return 0x212A
    case .some(let byte) where byte < 0x80:
      position += 1
      return UInt32(byte)
    default: return nil
    }
  }

  private func lower(_ character: UInt32) -> UInt32 {
    switch character {
    case 0x41...0x5A: character + 0x20
    case 0x17F: 0x73
    case 0x212A: 0x6B
    default: character
    }
  }

  /// The value of a hexadecimal digit; the scanner has let nothing else through.
  private func hexDigit(_ byte: UInt8) -> UInt32 {
    byte <= UInt8(ascii: "9") ? UInt32(byte & 0x0F) : UInt32(byte & 0x0F) + 9
  }
}

/// Decodes one JSON string, its quotes included.
///
/// Jansson does it: escapes, surrogate pairs and UTF-8 are checked there. It takes no NUL and no
/// half of a surrogate pair, where Go puts U+FFFD.
///
/// - Returns: The text, or nil where Jansson refuses it.
func decodeString(_ literal: UnsafeRawBufferPointer) -> String? {
  guard
    let root = json_loadb(
      literal.baseAddress?.assumingMemoryBound(to: CChar.self), literal.count,
      Int(JSON_DECODE_ANY), nil)
  else { return nil }
  defer { json_decref(root) }
  guard let text = json_string_value(root) else { return nil }
  return String(
    decoding: UnsafeRawBufferPointer(start: text, count: json_string_length(root)), as: UTF8.self)
}

/// The start of some bytes for an error message.
func excerpt(_ bytes: UnsafeRawBufferPointer) -> String {
  printable(String(decoding: bytes.prefix(256), as: UTF8.self), longest: 64)
}
