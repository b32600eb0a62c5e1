// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// How answers of engines are read.
extension JSONValue {
  /// Calls `body` with a member of an object; nil where there is none.
  func member<Result>(_ name: String, _ body: (borrowing JSONValue) -> Result?) -> Result? {
    var result: Result?
    forEachMember { key, value throws(Never) in
      if key == name { result = body(value) }
    }
    return result
  }

  /// The text of a member.
  func text(_ name: String) -> String? { member(name) { $0.string } }

  /// The text of a member of a member.
  func text(_ first: String, _ second: String) -> String? { member(first) { $0.text(second) } }
}

/// Any text as JSON writes it.
func quotedJSON(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"", "\\":
      result += "\\"
      result.unicodeScalars.append(scalar)
    case "\0"..<" ":
      let digits = String(scalar.value, radix: 16)
      result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}

/// A text as JSON writes it, for texts of printable ASCII.
func jsonString(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    if scalar == "\"" || scalar == "\\" { result += "\\" }
    result.unicodeScalars.append(scalar)
  }
  return result + "\""
}
