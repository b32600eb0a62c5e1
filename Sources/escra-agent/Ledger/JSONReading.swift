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
