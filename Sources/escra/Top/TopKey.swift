// SPDX-License-Identifier: Apache-2.0

/// A key as a person pressed it.
enum TopKey: Equatable {
  case up, down, pageUp, pageDown, home, end
  case enter, escape, backspace
  /// Ctrl-D, which ends.
  case endOfInput
  case character(Unicode.Scalar)

  /// What a terminal sends for keys that are no characters (ECMA-48, and xterm's ctlseqs).
  private static let sequences: [(String, TopKey)] = [
    ("[A", .up), ("[B", .down), ("OA", .up), ("OB", .down), ("[5~", .pageUp), ("[6~", .pageDown),
    ("[H", .home), ("[F", .end), ("OH", .home), ("OF", .end), ("[1~", .home), ("[4~", .end),
  ]

  /// The keys in what was read at once; a sequence that is not known is no key.
  static func parse(_ bytes: [UInt8]) -> [TopKey] {
    var keys: [TopKey] = []
    var rest = Array(String(decoding: bytes, as: UTF8.self).unicodeScalars)[...]
    while let scalar = rest.popFirst() {
      switch scalar {
      case "\u{1b}":
        let known = sequences.first { rest.starts(with: $0.0.unicodeScalars) }
        if let (text, key) = known {
          rest = rest.dropFirst(text.unicodeScalars.count)
          keys.append(key)
        } else if rest.first == "[" || rest.first == "O" {
          rest = rest.drop { $0 != "~" && !("A"..."Z").contains($0) || $0 == "O" }.dropFirst()
        } else {
          keys.append(.escape)
        }
      case "\r", "\n": keys.append(.enter)
      case "\u{7f}", "\u{8}": keys.append(.backspace)
      case "\u{4}": keys.append(.endOfInput)
      case " "...: keys.append(.character(scalar))
      default: break
      }
    }
    return keys
  }
}
