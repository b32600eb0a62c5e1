// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Control
@testable import State
@testable import Syscalls

private func entry(_ number: Int64) -> RecordEntry {
  RecordEntry(
    time: number * 1000, rule: Rule.allCases[Int(number) % Rule.allCases.count],
    applied: number % 2 == 0, before: -number, after: .max - number, use: number, period: .min)
}

/// What the record should hold of `entry(first)...entry(last)`.
private func entries(_ numbers: ClosedRange<Int64>) -> [RecordEntry] {
  numbers.map {
    var entry = entry($0)
    entry.sequence = UInt64($0)
    return entry
  }
}

private func append(_ numbers: ClosedRange<Int64>, in directory: TemporaryDirectory) throws {
  var record = try Record(in: try directory.opened())
  for number in numbers { record.append(entry(number)) }
}

private func overwrite(
  _ bytes: [UInt8], at offset: Int, in directory: TemporaryDirectory
) throws {
  let file = try directory.opened().open("record", O_RDWR)
  #expect(pwrite(file.number, bytes, bytes.count, offset) == bytes.count)
}

@Suite struct RecordTests {
  @Test func `entries read back in order`() throws {
    let directory = try TemporaryDirectory()
    try append(1...20, in: directory)
    #expect(Record.entries(in: try directory.opened()) == entries(1...20))
  }

  @Test func `no record is an empty one`() throws {
    let directory = try TemporaryDirectory()
    #expect(Record.entries(in: try directory.opened()) == [])
    _ = try Record(in: try directory.opened())
    #expect(Record.entries(in: try directory.opened()) == [])
  }

  @Test(arguments: [Int64(511), 512, 513, 700, 1024, 1025])
  func `the last 512 are kept, in 32 KiB`(count: Int64) throws {
    let directory = try TemporaryDirectory()
    try append(1...count, in: directory)
    #expect(
      Record.entries(in: try directory.opened()) == entries(max(1, count - 511)...count))
    let size = try directory.opened().status(of: "record")?.size
    #expect(size == Int(min(count, 512)) * 64)
  }

  @Test(arguments: [Int64(1), 10, 512, 600])
  func `the next supervisor continues`(first: Int64) throws {
    let directory = try TemporaryDirectory()
    try append(1...first, in: directory)
    try append(first + 1...first + 5, in: directory)
    #expect(
      Record.entries(in: try directory.opened()) == entries(max(1, first - 506)...first + 5))
  }

  @Test(arguments: 0..<64)
  func `an entry with any byte torn is left out`(byte: Int) throws {
    let directory = try TemporaryDirectory()
    try append(1...4, in: directory)
    let old = Array(try directory.opened().open("record", O_RDONLY).readAll())
    let offset = 2 * 64 + byte
    try overwrite([old[offset] ^ 0x10], at: offset, in: directory)
    #expect(
      Record.entries(in: try directory.opened()).map(\.sequence) == [1, 2, 4])
  }

  @Test func `a record that breaks off keeps what is whole, and goes on behind it`() throws {
    let directory = try TemporaryDirectory()
    try append(1...4, in: directory)
    do {
      let file = try directory.opened().open("record", O_RDWR)
      #expect(ftruncate(file.number, 3 * 64 + 17) == 0)
    }
    #expect(Record.entries(in: try directory.opened()) == entries(1...3))
    try append(4...5, in: directory)
    #expect(Record.entries(in: try directory.opened()) == entries(1...5))
  }

  @Test(
    arguments: [
      (.named("systemd"), .named("systemd")), (.named("runc"), .named("runc")),
      (.named("eightlet"), .named("eightlet")),
      (.named("containerd-shim"), .named("containerd-shi")),
      (.named(""), .named("")), (.process(4_194_304), .process(4_194_304)), (nil, nil),
    ] as [(RecordEntry.Writer?, RecordEntry.Writer?)])
  func `whose write it answers is kept`(said: RecordEntry.Writer?, kept: RecordEntry.Writer?) throws
  {
    for rule in Rule.allCases {
      let directory = try TemporaryDirectory()
      var record = try Record(in: try directory.opened())
      var entry = RecordEntry(
        time: 1, rule: rule, applied: true, before: -2, after: .max, use: 0, period: 100,
        writer: said)
      record.append(entry)
      (entry.sequence, entry.writer) = (1, kept)
      #expect(Record.entries(in: try directory.opened()) == [entry])
    }
  }

  @Test func `a rule that only a later version knows is left out`() throws {
    let directory = try TemporaryDirectory()
    try append(1...3, in: directory)
    var bytes = [UInt8](repeating: 0, count: 64)
    bytes.withUnsafeMutableBytes { entries(2...2)[0].encode(into: $0) }
    #expect(bytes.withUnsafeBytes { RecordEntry(decoding: $0) } == entries(2...2)[0])
    // The checksum as a writer of that version would make it.
    bytes[16] = 200
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325
    for word in 0..<7 {
      let value = bytes.withUnsafeBytes {
        $0.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
      }
      sum = (sum ^ UInt64(littleEndian: value)) &* 0x100_0000_01b3
    }
    bytes.withUnsafeMutableBytes {
      $0.storeBytes(of: sum.littleEndian, toByteOffset: 56, as: UInt64.self)
    }
    try overwrite(bytes, at: 64, in: directory)
    #expect(Record.entries(in: try directory.opened()).map(\.sequence) == [1, 3])
  }

  @Test func `any bytes are read to the end`() {
    var random = SeededGenerator(seed: 9)
    for length in [0, 1, 63, 64, 65, 4096, 40_000] {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(Record.entries(in: bytes) == [])
      #expect(Record.entries(in: [UInt8](repeating: 0, count: length)) == [])
    }
  }
}
