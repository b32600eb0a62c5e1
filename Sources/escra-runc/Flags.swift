// SPDX-License-Identifier: Apache-2.0

/// A word of the caller, and where in argv its bytes are.
///
/// argv may hold bytes that are no UTF-8, so `text` is for comparing and for messages only; what
/// is opened is the caller's own bytes, at ``ArgumentVector/bytes(of:)``.
struct FlagValue: Equatable {
  /// The position in argv.
  let index: Int
  /// Where in that argument the value starts, in bytes: behind the `=`, or 0.
  let offset: Int
  /// The value, with every byte that is no UTF-8 replaced by U+FFFD.
  let text: String
}

/// The flags of one level of a command line: those before the verb, or those behind it.
struct Flags: Equatable {
  /// One flag as it was given.
  struct Entry: Equatable {
    /// The long name, without dashes.
    let name: String
    /// Its value, if it has one.
    let value: FlagValue?
    /// The positions in argv that it takes up: one, or two with a separate value.
    let arguments: Range<Int>
  }

  /// Every flag in the order given.
  private(set) var entries: [Entry] = []

  /// The value of a flag; of several, the last one.
  subscript(name: String) -> FlagValue? { entries.last { $0.name == name }?.value }

  /// Whether a flag without a value is on: given, and not as `--flag=false`.
  ///
  /// A value that Go's strconv.ParseBool does not take is an error of runc's, and "off" here.
  func isOn(_ name: String) -> Bool {
    guard let entry = entries.last(where: { $0.name == name }) else { return false }
    guard let value = entry.value else { return true }
    return ["1", "t", "T", "true", "TRUE", "True"].contains(value.text)
  }

  /// Reads flags the way Go's flag package does.
  ///
  /// `-f`, `--f`, `-f=v`, `--f=v`, `-f v`, `--f v`, and `--` as their end. A flag that takes a
  /// value takes the next argument, whatever it is.
  ///
  /// - Parameters:
  ///   - arguments: All of argv.
  ///   - start: The first argument to look at.
  ///   - mayFollowWords: Whether flags are also looked for behind the first word.
  ///   - longName: The long name for a name as given.
  ///   - takesValue: Whether a flag, by its long name, has a value.
  /// - Returns: The positions of the words, that is of everything that is no flag.
  mutating func read(
    _ arguments: [String], from start: Int, mayFollowWords: Bool,
    longName: (String) -> String, takesValue: (String) -> Bool
  ) -> [Int] {
    var words: [Int] = []
    var index = start
    while index < arguments.count {
      guard arguments[index] != "--" else {
        words += (index + 1)..<arguments.count
        break
      }
      guard let (given, offset) = Self.split(arguments[index]) else {
        guard mayFollowWords else {
          words += index..<arguments.count
          break
        }
        words.append(index)
        index += 1
        continue
      }
      let name = longName(given)
      var value: FlagValue?
      var end = index + 1
      if let offset {
        let text = String(Substring(arguments[index].utf8.dropFirst(offset)))
        value = FlagValue(index: index, offset: offset, text: text)
      } else if takesValue(name), end < arguments.count {
        value = FlagValue(index: end, offset: 0, text: arguments[end])
        end += 1
      } else if takesValue(name), !words.isEmpty {
        // runc moves flags in front of the words: the last one finds the first word behind it.
        let word = words.removeFirst()
        value = FlagValue(index: word, offset: 0, text: arguments[word])
      }
      entries.append(Entry(name: name, value: value, arguments: index..<end))
      index = end
    }
    return words
  }

  /// The name of a flag and, with `=`, the byte its value starts at; nil for a word.
  ///
  /// "-" is a word: `update --resources -` means stdin.
  private static func split(_ argument: String) -> (name: String, offset: Int?)? {
    let bytes = argument.utf8
    guard bytes.count > 1, bytes.first == UInt8(ascii: "-") else { return nil }
    let dashes = bytes.dropFirst().first == UInt8(ascii: "-") ? 2 : 1
    let body = bytes.dropFirst(dashes)
    guard let equals = body.firstIndex(of: UInt8(ascii: "=")) else {
      return (String(Substring(body)), nil)
    }
    let name = String(Substring(body[..<equals]))
    return (name, bytes.distance(from: bytes.startIndex, to: equals) + 1)
  }
}
