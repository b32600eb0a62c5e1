// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestValues
import Testing

@testable import Cgroups
@testable import Syscalls

/// Bytes from their hexadecimal digits.
private func bytes(_ digits: String) -> [UInt8] {
  digits.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt8($0, radix: 16) }
}

// As systemd 257 has sent them over its private socket.
private let granted = bytes(
  """
  6c 02 01 01 25 00 00 00 03 00 00 00 37 00 00 00 05 01 75 00 01 00 00 00 07 01 73 00 18 00 00 00
  6f 72 67 2e 66 72 65 65 64 65 73 6b 74 6f 70 2e 73 79 73 74 65 6d 64 31 00 00 00 00 00 00 00 00
  08 01 67 00 01 6f 00 00 20 00 00 00 2f 6f 72 67 2f 66 72 65 65 64 65 73 6b 74 6f 70 2f 73 79 73
  74 65 6d 64 31 2f 6a 6f 62 2f 39 39 00
  """)
private let signal = bytes(
  """
  6c 04 01 01 0b 00 00 00 01 00 00 00 32 00 00 00 01 01 6f 00 02 00 00 00 2f 70 00 00 00 00 00 00
  02 01 73 00 03 00 00 00 69 2e 66 00 00 00 00 00 03 01 73 00 07 00 00 00 55 6e 69 74 4e 65 77 00
  00 00 00 00 00 00 00 00 06 00 00 00 61 62 63 64 65 66 00
  """)

/// An error that answers a call.
private func refusal(of serial: UInt8) -> [UInt8] {
  bytes(
    """
    6c 03 01 01 00 00 00 00 01 00 00 00 37 00 00 00 05 01 75 00 0\(serial) 00 00 00
    04 01 73 00 23 00 00 00
    6f 72 67 2e 66 72 65 65 64 65 73 6b 74 6f 70 2e 73 79 73 74 65 6d 64 31 2e 55 6e 69 74 45 78 69
    73 74 73 00 00 00 00 00
    """)
}

@Suite struct DBusMessageTests {
  @Test func `properties are as the specification puts them`() {
    var made = DBusBytes()
    made.append(properties: [
      ("PIDs", .numbers([7, 258])), ("On", .flag(true)), ("S", .text("xy")),
    ])
    #expect(
      made.bytes
        == bytes(
          """
          43 00 00 00 00 00 00 00 04 00 00 00 50 49 44 73 00 02 61 75 00 00 00 00 08 00 00 00
          07 00 00 00 02 01 00 00 00 00 00 00 02 00 00 00 4f 6e 00 01 62 00 00 00 01 00 00 00
          01 00 00 00 53 00 01 73 00 00 00 00 02 00 00 00 78 79 00
          """))
  }

  @Test func `a call is as the specification puts it`() {
    var body = DBusBytes()
    body.append("a")
    body.append(properties: [])
    let call = DBusBytes.call(
      "Do", serial: 3, destination: "d.e", path: "/p", interface: "i.f", signature: "sa(sv)",
      body: body)
    #expect(
      call
        == bytes(
          """
          6c 01 00 01 10 00 00 00 03 00 00 00 4c 00 00 00 01 01 6f 00 02 00 00 00 2f 70 00 00
          00 00 00 00 02 01 73 00 03 00 00 00 69 2e 66 00 00 00 00 00 03 01 73 00 02 00 00 00
          44 6f 00 00 00 00 00 00 06 01 73 00 03 00 00 00 64 2e 65 00 00 00 00 00 08 01 67 00
          06 73 61 28 73 76 29 00 00 00 00 00 01 00 00 00 61 00 00 00 00 00 00 00 00 00 00 00
          """))
  }

  @Test func `messages are taken one by one, and only whole ones`() throws {
    var received = signal + granted + refusal(of: 2)
    let first = try DBusReply.take(from: &received)
    #expect(first?.kind == .signal && first?.member == "UnitNew" && first?.body.count == 11)
    let second = try DBusReply.take(from: &received)
    #expect(second?.kind == .result && second?.answers == 1)
    #expect(second?.texts(from: 0) == ["/org/freedesktop/systemd1/job/99"])
    let rest = received
    for count in 0..<rest.count {
      var part = Array(rest[..<count])
      #expect(try DBusReply.take(from: &part) == nil)
      #expect(part.count == count)
    }
    let error = "org.freedesktop.systemd1.UnitExists"
    let taken = try DBusReply.take(from: &received)
    #expect(taken?.kind == .failure && taken?.answers == 2)
    #expect(taken?.error == error)
    #expect(received == [])
  }

  @Test func `any bytes are read to the end`() {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<20_000 {
      var message = [signal, granted, refusal(of: 1), jobRemoved(9, as: "done")][
        Int.random(in: 0..<4, using: &random)]
      for _ in 0..<3 {
        message[Int.random(in: 0..<message.count, using: &random)] = .random(
          in: 0...255, using: &random)
      }
      _ = try? DBusReply.take(from: &message)?.texts(from: Int.random(in: 0..<8, using: &random))
    }
  }
}

/// The signal that says how a job has ended.
private func jobRemoved(_ job: UInt32, as result: String) -> [UInt8] {
  var body = DBusBytes()
  body.append(job)
  for text in ["/org/freedesktop/systemd1/job/\(job)", "escra-supervisor-7.scope", result] {
    body.append(text)
  }
  var message = DBusBytes.call(
    "JobRemoved", serial: 5, destination: "", path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager", signature: "uoss", body: body)
  message[1] = 4
  return message
}

@Suite struct ScopeRequestTests {
  private func outcomes(_ parts: [[UInt8]]) -> [ScopeRequest.Outcome] {
    var request = ScopeRequest(connected: .none)
    var outcomes: [ScopeRequest.Outcome] = []
    for part in parts { outcomes.append(request.hear(part)) }
    return outcomes
  }
  private let accepted = Array("OK 0123456789abcdef\r\n".utf8)
  private let done = jobRemoved(99, as: "done")

  @Test func `it is granted once the job is done, not when it is queued`() {
    #expect(
      outcomes([accepted, signal, granted, done]) == [.pending, .pending, .pending, .granted])
    #expect(outcomes([accepted + signal + granted + signal + done]) == [.granted])
  }

  @Test func `the first call that succeeds is enough, whatever becomes of the second`() {
    #expect(outcomes([accepted + granted + refusal(of: 2), done]) == [.pending, .granted])
  }

  @Test func `other jobs are nobody's business`() {
    let others = jobRemoved(9, as: "done") + jobRemoved(199, as: "failed")
    #expect(
      outcomes([accepted + others, granted, others, done]) == [
        .pending, .pending, .pending, .granted,
      ])
  }

  @Test(arguments: ["failed", "canceled", "timeout"])
  func `a job that ends in another way has made no scope`(result: String) {
    #expect(
      outcomes([accepted + granted, jobRemoved(99, as: result)])
        == [.pending, .refused("its job ended as \(result)")])
  }

  @Test func `only the second refusal is one`() {
    let error = "org.freedesktop.systemd1.UnitExists"
    #expect(
      outcomes([accepted, refusal(of: 1), refusal(of: 2)])
        == [.pending, .pending, .refused(error)])
  }

  @Test func `it may come byte by byte`() {
    let said = outcomes((accepted + signal + granted + done).map { [$0] })
    #expect(said.last == .granted)
    #expect(said.dropLast().allSatisfy { $0 == .pending })
  }

  @Test func `whoever does not know us, or speaks something else, refuses`() {
    #expect(outcomes([Array("REJECTED EXTERNAL\r\n".utf8)]) == [.refused("not authenticated")])
    #expect(
      outcomes([accepted, Array("HTTP/1.1 400 Bad Request\r\n".utf8)])
        == [.pending, .refused("it speaks no D-Bus")])
    #expect(
      outcomes([[UInt8](repeating: 65, count: 2 << 20)]) == [.refused("it never ends")])
  }

  @Test func `the first of both calls makes the slice`() {
    let said = ScopeRequest.conversation("escra-supervisor", for: "a\u{7}b", pid: 258)
    let text = String(decoding: said, as: UTF8.self)
    #expect(text.hasPrefix("\0AUTH EXTERNAL 3"))
    #expect(!text.contains("a\u{7}b"), "D-Bus takes no such text as a description")
    let calls = text.split(separator: "StartTransientUnit")
    #expect(calls.count == 3)
    #expect(calls[1].contains("StopWhenUnneeded") && !calls[2].contains("StopWhenUnneeded"))
    #expect(calls.dropFirst().allSatisfy { $0.contains("escra-supervisor-258.scope") })
  }

  @Test func `one that hangs up refuses, one that says nothing is waited for in vain`() throws {
    var ends: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
    var request = ScopeRequest(connected: FileDescriptor(owning: ends[0]))
    #expect(request.answer(within: 10) == .pending)
    close(ends[1])
    #expect(request.answer(within: 1000) == .refused("it hung up"))
  }
}
