// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// One thing that `escra doctor` has looked at.
struct Check: Equatable {
  /// How it is.
  enum Level: String {
    /// Nothing to do.
    case ok
    /// It works, and costs or lacks something.
    case warning
    /// Something would fail.
    case problem
  }

  var level: Level
  /// What was looked at, in a word or two.
  var name: String
  /// What is so, and what to do about it.
  var sentence: String

  /// All is well.
  static func ok(_ name: String, _ sentence: String) -> Check {
    Check(level: .ok, name: name, sentence: sentence)
  }

  /// It works, and costs or lacks something.
  static func warning(_ name: String, _ sentence: String) -> Check {
    Check(level: .warning, name: name, sentence: sentence)
  }

  /// Something would fail.
  static func problem(_ name: String, _ sentence: String) -> Check {
    Check(level: .problem, name: name, sentence: sentence)
  }

  /// For programs.
  var json: JSON {
    .object([
      ("level", .string(level.rawValue)), ("name", .string(name)), ("sentence", .string(sentence)),
    ])
  }

  /// Lines for a terminal of so many columns; each check in one line where that is nil.
  static func lines(_ checks: [Check], columns: Int?) -> [String] {
    let level = checks.map(\.level.rawValue.count).max() ?? 0
    let name = checks.map(\.name.count).max() ?? 0
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    return checks.flatMap { check in
      let head = padded(check.level.rawValue, level) + "  " + padded(check.name, name) + "  "
      let sentence = Table.printable(check.sentence)
      guard let columns, columns > head.count + 20 else { return [head + sentence] }
      return Table.wrapped(sentence, to: columns - head.count).enumerated().map { index, line in
        (index == 0 ? head : String(repeating: " ", count: head.count)) + line
      }
    }
  }
}
