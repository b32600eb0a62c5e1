// SPDX-License-Identifier: Apache-2.0

/// Puts a value that another program wrote into one of our sentences, in double quotes.
///
/// Annotations are untrusted and error sentences end in logs, terminals and programs that match
/// phrases in them: anything but printable ASCII is escaped, spaces too (no value that is accepted
/// has one, and every phrase that Podman and containerd look for does), and what is longer than
/// 64 characters is cut.
package func quoted(_ value: String) -> String { "\"\(escaped(value))\"" }

/// What ``quoted(_:)`` puts between the quotes.
package func escaped(_ value: String) -> String {
  escape(value, longest: 64) { scalar in
    switch scalar {
    case "\"", "\\": "\\\(scalar)"
    case "!"..."~": String(scalar)
    default: nil
    }
  }
}

/// A text as it may go to a terminal or a log: one line of printable ASCII.
///
/// Sentences contain paths and other words as the caller wrote them. Anything but printable ASCII
/// is escaped as in ``quoted(_:)``, and a longer text is cut.
package func printable(_ text: String, longest: Int = 4096) -> String {
  escape(text, longest: longest) { " "..."~" ~= $0 ? String($0) : nil }
}

/// Escapes each character that `plain` has no text for.
private func escape(
  _ text: String, longest: Int, _ plain: (Unicode.Scalar) -> String?
) -> String {
  var result = ""
  var count = 0
  for scalar in text.unicodeScalars {
    let piece = plain(scalar) ?? "\\u{\(String(scalar.value, radix: 16))}"
    count += piece.utf8.count
    if count > longest { return result + "..." }
    result += piece
  }
  return result
}

/// Names as a sentence lists them: "a, b or c".
func listed(_ names: some Collection<String>, _ conjunction: String = "or") -> String {
  var result = ""
  for (index, name) in names.enumerated() {
    if index > 0 { result += index + 1 == names.count ? " \(conjunction) " : ", " }
    result += name
  }
  return result
}
