// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// What an edit writes down about itself before it touches anything: how to recognise the bytes
/// that it is going to put into config.json.
struct EditRecord: Equatable {
  private var sum = FNV1a()
  /// FNV-1a, 64 bits.
  ///
  /// It tells our own edit from somebody else's file, it does not authenticate: who can write the
  /// one can write the other.
  var hash: UInt64 { sum.value }
  private(set) var length = 0

  /// The record of no bytes.
  init() {}

  init(of bytes: [UInt8]) {
    bytes.withUnsafeBytes { add($0) }
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
    guard words.count == 4, words[0].elementsEqual("escra-edit".utf8),
      words[1].elementsEqual("1".utf8), words[2].count == 16,
      let hash = UInt64(String(Substring(words[2])), radix: 16),
      let length = Int(String(Substring(words[3])))
    else { return nil }
    sum = FNV1a(value: hash)
    self.length = length
  }

  /// One line: a format version, the hash in 16 digits, the length.
  var text: String {
    "escra-edit 1 \(sum.digits) \(length)\n"
  }
}
