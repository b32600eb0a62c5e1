// SPDX-License-Identifier: Apache-2.0

/// Base64 with padding (RFC 4648, 4), in which etcd's gateway writes keys and values.
enum Base64 {
  private static let digits = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// The text of bytes.
  static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    var place = 0
    while place < bytes.count {
      let count = min(3, bytes.count - place)
      var group = UInt32(bytes[place]) << 16
      if count > 1 { group |= UInt32(bytes[place + 1]) << 8 }
      if count > 2 { group |= UInt32(bytes[place + 2]) }
      for index in 0..<4 {
        text.append(
          index <= count ? digits[Int(group >> (18 - 6 * UInt32(index)) & 63)] : UInt8(ascii: "="))
      }
      place += 3
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The bytes of a text; nil for a text that is no Base64.
  static func decode(_ text: String) -> [UInt8]? {
    let characters = Array(text.utf8)
    guard characters.count.isMultiple(of: 4) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(characters.count / 4 * 3)
    for place in stride(from: 0, to: characters.count, by: 4) {
      var group: UInt32 = 0
      var padding = 0
      for index in 0..<4 {
        let character = characters[place + index]
        if character == UInt8(ascii: "=") {
          guard place + 4 == characters.count, index > 1 else { return nil }
          padding += 1
          group <<= 6
        } else {
          guard padding == 0, let value = value(of: character) else { return nil }
          group = group << 6 | value
        }
      }
      for index in 0..<(3 - padding) { bytes.append(UInt8(group >> (16 - 8 * index) & 255)) }
    }
    return bytes
  }

  private static func value(of character: UInt8) -> UInt32? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character) - 65
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character) - 71
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character) + 4
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}
