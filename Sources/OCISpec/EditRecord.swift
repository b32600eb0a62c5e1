// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// What an edit writes down about itself before it touches anything: how to recognise the bytes
/// that it is going to put into config.json, and which members of them are ours.
struct EditRecord: Equatable {
  /// A value of ours, as it is written.
  struct Member: Equatable {
    let place: JSONPlace
    let literal: String
  }

  private var sum = FNV1a()
  /// FNV-1a, 64 bits.
  ///
  /// It tells our own edit from another program's file, it does not authenticate: who can write the
  /// one can write the other.
  var hash: UInt64 { sum.value }
  private(set) var length = 0
  private(set) var members: [Member] = []

  /// The record of no bytes.
  init() {}

  init(of bytes: [UInt8], members: [Member] = []) {
    bytes.withUnsafeBytes { add($0) }
    self.members = members
  }

  /// Whether the bytes are the same, whichever of their members are ours.
  func isSameText(as other: EditRecord) -> Bool {
    sum == other.sum && length == other.length
  }

  /// Takes further bytes in.
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    sum.add(bytes)
    length += bytes.count
  }

  /// Reads a record back; nil for what this version did not write, or not to the end.
  init?(_ text: String) {
    guard text.utf8.last == UInt8(ascii: "\n") else { return nil }
    let words = text.utf8.dropLast().split(separator: UInt8(ascii: " "))
    // Version 1 named no members.
    guard words.count >= 4, words[0].elementsEqual("escra-edit".utf8),
      words[1].elementsEqual("2".utf8) || (words[1].elementsEqual("1".utf8) && words.count == 4),
      words[2].count == 16,
      let hash = UInt64(String(Substring(words[2])), radix: 16),
      let length = Int(String(Substring(words[3])))
    else { return nil }
    for word in words.dropFirst(4) {
      let parts = word.split(separator: UInt8(ascii: "="), maxSplits: 1)
      guard parts.count == 2,
        let place = JSONPlace.allCases.first(where: {
          "\($0.name)".utf8.elementsEqual(parts[0])
        })
      else { return nil }
      members.append(Member(place: place, literal: String(Substring(parts[1]))))
    }
    sum = FNV1a(value: hash)
    self.length = length
  }

  /// One line: a format version, the hash in 16 digits, the length, and NAME=VALUE for each member.
  var text: String {
    "escra-edit 2 \(sum.digits) \(length)"
      + members.map { " \($0.place.name)=\($0.literal)" }.joined() + "\n"
  }
}
