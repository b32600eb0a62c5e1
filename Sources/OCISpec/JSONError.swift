// SPDX-License-Identifier: Apache-2.0

/// Why some bytes are no JSON, and where.
package struct JSONError: Error, Equatable, CustomStringConvertible, Sendable {
  /// What is wrong, as the end of a sentence.
  package enum Reason: String, Sendable {
    /// The document ends before its value does.
    case truncated = "the document ends too early"
    /// Something else stands where a value must.
    case value = "a value is missing"
    /// Something else stands where a member's name must.
    case key = "a member's name in quotes is missing"
    /// A member's name without its colon.
    case colon = "a colon is missing after a member's name"
    /// Neither a comma nor the end of the object or array.
    case separator = "a comma or a closing bracket is missing"
    /// A string without its closing quote; the offset is the opening one's.
    case unclosedString = "a string is not closed"
    /// A byte below 0x20 in a string.
    case control = "a control character stands in a string without an escape"
    /// A backslash followed by what RFC 8259 section 7 does not list.
    case escape = "an escape in a string is not one of JSON's"
    /// A number that RFC 8259 section 6 does not allow.
    case number = "a number is malformed"
    /// true, false or null misspelt.
    case literal = "a word is neither true nor false nor null"
    /// Deeper than Go's encoding/json follows (scanner.go: maxNestingDepth).
    case depth = "it nests deeper than 10000 levels"
  }

  /// The byte's offset from the start of the document.
  package let offset: Int
  /// What is wrong there.
  package let reason: Reason

  /// Makes an error from its parts.
  package init(_ reason: Reason, at offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  /// A predicate: "is not valid JSON at byte 812: a string is not closed".
  package var description: String { "is not valid JSON at byte \(offset): \(reason.rawValue)" }
}
