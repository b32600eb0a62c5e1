// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestValues
import Testing

@testable import Application
@testable import LiveLimits
@testable import Quantities
@testable import Syscalls

private let messages: [ControlMessage] = [
  .updateMemory(limit: 1 << 30, swap: -1), .updateMemory(limit: nil, swap: nil),
  .applyMemory(limit: 64 << 20, swap: nil),
  .ready(CFSBandwidth(quota: 150_000)), .ready(CFSBandwidth(quota: nil, period: 1000)),
  .ready(CFSBandwidth(quota: 0, period: .max)), .ready(CFSBandwidth(quota: .max, period: 1)),
  .update(quota: nil, period: nil), .update(quota: -1, period: nil), .update(quota: 0, period: 0),
  .update(quota: .max, period: .min + 1), .update(quota: nil, period: 50_000),
  .apply(CFSBandwidth(quota: 20_000, period: 50_000)), .apply(CFSBandwidth(quota: nil)), .look,
  .looked,
  .refused(.refused(.cpu, .minima, figure: 5)), .refused(.full(.memory)), .refused(.taken),
  .refused(.noShare(.memory, figure: 7)),
  .refused(.silence), .ready(CFSBandwidth(quota: 1000), memory: 1 << 30),
  .keeperIsHere, .whoIs(4711), .named(4711, "fifteen letters"),
  .named(1, ""), .named(7, "\u{1F600}"), .askEnd, .over,
  .notNoted(errno: 28), .updating, .updateSettled,
  .updateEnded(isTaken: true), .updateEnded(isTaken: false), .snapshot,
  .unrecorded(errno: 28),
]

@Suite struct ControlMessageTests {
  @Test(arguments: messages)
  func `reads back, from 32 bytes`(message: ControlMessage) {
    #expect(message.bytes.count == 32)
    #expect(ControlMessage(bytes: message.bytes) == message)
  }

  @Test(arguments: ["", "0123456789abcdef/1y2p0ij32e8e7", String(repeating: "a", count: 512)])
  func `a call about one instance says which, and no longer than a frame`(instance: String) throws {
    let message = ControlMessage.lookAt(instance)
    #expect(message.bytes.count == 32 + instance.utf8.count)
    #expect(ControlMessage(bytes: message.bytes) == message)
    #expect(ControlMessage(bytes: message.bytes + Array(repeating: 97, count: 513)) == nil)
    let ends = try ControlSocket.pair()
    let here = ControlSocket(owning: FileDescriptor(owning: ends.0))
    let there = ControlSocket(owning: FileDescriptor(owning: ends.1))
    #expect(there.send(message) == true)
    #expect(here.receive() == .message(message))
  }

  @Test func `the frame is what it is on every machine`() {
    #expect(
      ControlMessage.apply(CFSBandwidth(quota: 0x0102_0304, period: 0x0506)).bytes
        == Array("ESCR".utf8) + [1, 0, 3, 0] + [4, 3, 2, 1, 0, 0, 0, 0] + [6, 5, 0, 0, 0, 0, 0, 0]
        + [0, 0, 0, 0, 0, 0, 0, 0])
  }

  @Test func `another magic, version, kind or length is none of ours`() {
    for message in messages {
      for (index, value) in [(0, 0), (3, 0x53), (4, 0), (4, 2), (5, 1), (6, 0), (6, 13), (7, 1)] {
        var bytes = message.bytes
        bytes[index] = UInt8(value)
        #expect(ControlMessage(bytes: bytes) == nil)
      }
      #expect(ControlMessage(bytes: Array(message.bytes.dropLast())) == nil)
      #expect(ControlMessage(bytes: message.bytes + [0]) == nil)
    }
  }

  @Test(arguments: [
    ControlMessage.ready(CFSBandwidth(quota: 1000)), .apply(CFSBandwidth(quota: nil)),
  ])
  func `a limit without a period is none`(message: ControlMessage) {
    for period in [Int64(0), -1, .min] {
      var bytes = message.bytes
      bytes.replaceSubrange(16..<24, with: withUnsafeBytes(of: period.littleEndian) { Array($0) })
      #expect(ControlMessage(bytes: bytes) == nil)
    }
  }

  /// 200,000 strings of any length, most of them with the beginning of a frame.
  @Test func `any bytes are a message that is valid, or none`() {
    var random = SeededGenerator(seed: 10)
    var found = 0
    for _ in 0..<200_000 {
      let isNearly = UInt8.random(in: 0...3, using: &random) > 0
      var bytes: [UInt8] = []
      if isNearly {
        let kind = UInt8.random(in: 0...28, using: &random)
        bytes = [0x45, 0x53, 0x43, 0x52, 1, 0, kind, 0]
        for _ in 0..<3 {
          let word = random.number().littleEndian
          withUnsafeBytes(of: word) { bytes += $0 }
        }
        if UInt8.random(in: 0...7, using: &random) == 0 { bytes.removeLast() }
      } else {
        let length = Int.random(in: 0...64, using: &random)
        while bytes.count < length { withUnsafeBytes(of: random.next()) { bytes += $0 } }
        bytes.removeLast(bytes.count - length)
      }
      guard let message = ControlMessage(bytes: bytes) else { continue }
      found += 1
      switch message {
      case .ready(let limit, _), .apply(let limit):
        if limit.period <= 0 || (limit.quota ?? 0) < 0 { Issue.record("no limit: \(bytes)") }
      case .update, .look, .looked, .updateMemory, .applyMemory, .keeperIsHere, .refused, .whoIs,
        .named, .askEnd, .over, .lookAt, .notNoted, .updating,
        .updateEnded, .updateSettled, .snapshot, .unrecorded:
        break
      }
      if ControlMessage(bytes: message.bytes) != message { Issue.record("not itself: \(bytes)") }
    }
    #expect(found > 10_000)
  }
}

@Suite struct ControlSocketTests {
  @Test func `what is said is heard, a frame at a time, then the end`() throws {
    let ends = try ControlSocket.pair()
    let here = ControlSocket(owning: FileDescriptor(owning: ends.0))
    do {
      let there = ControlSocket(owning: FileDescriptor(owning: ends.1))
      for message in messages { #expect(there.send(message) == true) }
    }
    for message in messages { #expect(here.receive() == .message(message)) }
    #expect(here.receive() == .end)
    #expect(here.receive(within: 1000) == .end)
    #expect(here.send(.look) == false, "nobody listens, and no SIGPIPE")
  }

  @Test func `silence is nothing, and no longer than asked for`() throws {
    let ends = try ControlSocket.pair()
    let here = ControlSocket(owning: FileDescriptor(owning: ends.0))
    let there = FileDescriptor(owning: ends.1)
    #expect(here.receive() == .nothing)
    let start = monotonicNow()
    #expect(here.receive(within: 20) == .nothing)
    #expect(monotonicNow() - start >= 20_000_000)
    #expect(there.isOpen == true)
  }

  @Test(arguments: [1, 31, 33, 64, 5000])
  func `other bytes are nonsense, and the next frame is heard`(count: Int) throws {
    let ends = try ControlSocket.pair()
    let here = ControlSocket(owning: FileDescriptor(owning: ends.0))
    let there = FileDescriptor(owning: ends.1)
    try there.write((ControlMessage.look.bytes + [UInt8](repeating: 0, count: 5000)).prefix(count))
    try there.write(ControlMessage.looked.bytes)
    #expect(here.receive() == .nonsense)
    #expect(here.receive() == .message(.looked))
  }
}
