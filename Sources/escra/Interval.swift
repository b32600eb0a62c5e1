// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Quantities

/// A length of time as people type it: "200ms", "1.5s", "2" (seconds).
struct Interval: Equatable {
  /// Nanoseconds, more than none and not more than a day.
  let nanoseconds: Nanoseconds

  /// So many seconds, for a default.
  init(seconds: Int64) { nanoseconds = seconds * 1_000_000_000 }

  /// Reads what was typed.
  ///
  /// - Throws: `ValidationError`, which says what to write.
  init(typed text: String) throws {
    guard let interval = Interval(argument: text) else {
      throw ValidationError("write a time such as 500ms or 2s, from 1ms to a day")
    }
    self = interval
  }

  /// Reads what was typed; nil for anything else.
  init?(argument: String) {
    let units: [(suffix: String, factor: Double)] = [("ms", 1e6), ("s", 1e9), ("", 1e9)]
    guard let unit = units.first(where: { argument.hasSuffix($0.suffix) }) else { return nil }
    let number = argument.dropLast(unit.suffix.count)
    // Double's own grammar has "inf", "nan" and hexadecimal too.
    guard number.utf8.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: ".") }),
      let value = Double(number), value * unit.factor >= 1e6, value * unit.factor <= 86_400e9
    else { return nil }
    nanoseconds = Int64((value * unit.factor).rounded())
  }
}
