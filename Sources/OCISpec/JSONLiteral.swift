// SPDX-License-Identifier: Apache-2.0

/// A text as a JSON string with its quotes (RFC 8259): the one escaper.
///
/// Control characters are escaped, DEL and C1 as well: a terminal that shows the text would obey them.
///
/// - Parameters:
///   - text: The text.
///   - isOneWord: Whether spaces are escaped, too.
/// - Returns: The literal.
package func jsonLiteral(_ text: String, isOneWord: Bool = false) -> String {
  var literal = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": literal += "\\\""
    case "\\": literal += "\\\\"
    case "\n": literal += "\\n"
    case "\t": literal += "\\t"
    case "\r": literal += "\\r"
    case " " where !isOneWord: literal += " "
    case "\0"..." ", "\u{7f}"..."\u{9f}":
      let digits = String(scalar.value, radix: 16)
      literal += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
    default: literal.unicodeScalars.append(scalar)
    }
  }
  return literal + "\""
}
