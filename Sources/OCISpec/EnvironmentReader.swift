// SPDX-License-Identifier: Apache-2.0

/// The strings of `process.env` that begin with a name and an equals sign or an underscore.
///
/// The document was walked before, so its syntax is known to be right. A string that is not Unicode
/// is passed over, and so is everything that is no string: the low-level runtime refuses that.
func variablesOfEnvironment(
  _ bytes: UnsafeRawBufferPointer, _ array: JSONSpan, _ name: String
) -> [(name: String, value: String)] {
  guard array.kind == .array else { return [] }
  var found: [(name: String, value: String)] = []
  var (position, depth) = (array.start + 1, 1)
  while depth > 0, position < bytes.count {
    switch bytes[position] {
    case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
    case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
    case UInt8(ascii: "\""):
      let start = position
      position += 1
      while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
        position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
      }
      guard depth == 1, position < bytes.count else { break }
      let literal = UnsafeRawBufferPointer(rebasing: bytes[start...position])
      // Engines escape no letter of a name.
      guard literal.dropFirst().starts(with: name.utf8), let text = decodeString(literal),
        let equals = text.utf8.firstIndex(of: UInt8(ascii: "="))
      else { break }
      let variable = String(text[..<equals])
      let rest = variable.utf8.dropFirst(name.utf8.count)
      guard rest.isEmpty || rest.first == UInt8(ascii: "_") else { break }
      found.removeAll { $0.name == variable }
      found.append((variable, String(text[text.utf8.index(after: equals)...])))
    default: break
    }
    position += 1
  }
  return found
}
