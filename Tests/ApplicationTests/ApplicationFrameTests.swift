// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application

private let claim = ApplicationMessage.Claim(
  held: 1, wanted: 2, declared: 3, floor: 4, ceiling: 5, priority: -6, application: 7)

private let bodies: [ApplicationMessage.Body] = [
  .join(claim),
  .join(.init(held: 0, wanted: 0, declared: 0, floor: 0, ceiling: ApplicationMessage.most)),
  .join(
    .init(
      held: 0, wanted: 2, declared: 3, floor: 4, ceiling: 5, application: 7, isNoChange: true)),
  .grow(.init(held: 1, wanted: ApplicationMessage.most, spent: 3)),
  .giveBack(.init(held: 1, wanted: 2)), .leave, .status, .attend, .set(0), .welcome(limit: 1),
  .grant(limit: ApplicationMessage.most), .recall(limit: 0),
  .refuse(.version, figure: 1), .refuse(.minima, figure: 0), .refuse(.nonsense, figure: 3),
  .refuse(.conflict, figure: 4),
  .figures(.init(limit: 1, inForce: 2, charged: 3, members: 4, waiting: 5)),
  .share(.init(limit: 3, minimum: 2, deadline: .max)),
  .share(.init(limit: 2, minimum: 2, deadline: nil)),
  .demand(.init(inForce: 1, wanted: 2, used: 3, declared: 4, floors: 5, explicit: nil)),
  .demand(.init(inForce: 1, wanted: 2, used: 3, declared: 4, floors: 5, explicit: 6)),
]

private func message(
  _ body: ApplicationMessage.Body, _ resource: SharedResource = .cpu
) -> ApplicationMessage {
  ApplicationMessage(
    resource: resource, epoch: .max, nonce: 0x0102_0304_0506_0708, sequence: 9,
    acknowledged: 10, body: body)
}

private func decoded(_ bytes: [UInt8]) -> Result<ApplicationMessage, FrameError> {
  Result { () throws(FrameError) in try ApplicationMessage(bytes: bytes) }
}

@Suite struct ApplicationFrameTests {
  @Test(arguments: bodies, SharedResource.allCases)
  func `reads back, from 96 bytes`(body: ApplicationMessage.Body, resource: SharedResource) {
    let message = message(body, resource)
    #expect(message.bytes.count == 96)
    #expect(decoded(message.bytes) == .success(message))
  }

  @Test func `the frame is what docs/protocol.md says, on every machine`() {
    let message = ApplicationMessage(
      resource: .memory, epoch: 1, nonce: 2, sequence: 3, acknowledged: 4,
      body: .grow(.init(held: 0x0102, wanted: 5, spent: 6)))
    func word(_ value: UInt8, _ next: UInt8 = 0) -> [UInt8] { [value, next, 0, 0, 0, 0, 0, 0] }
    let head = Array("ESAP".utf8) + [3, 1, 2, 2] + word(1) + word(2) + word(3) + word(4)
    let words = word(2, 1) + word(5) + word(6) + word(0) + word(0) + word(0) + word(0)
    #expect(message.bytes == head + words)
  }

  @Test(
    arguments: [
      (0, 0, FrameError.magic(0x5041_5300)), (4, 0, .version(0, oldest: 1)),
      (4, 9, nil), (5, 0, .version(3, oldest: 0)), (5, 4, .version(3, oldest: 4)),
      (6, 0, .kind(0)), (6, 10, .kind(10)), (6, 255, .kind(255)), (7, 0, .resource(0)),
      (7, 3, .resource(3)), (46, 1, .word(0)), (95, 1, .word(6)),
    ] as [(Int, UInt8, FrameError?)])
  func `a byte that is another has a reason of its own`(
    index: Int, value: UInt8, reason: FrameError?
  ) {
    var bytes = message(.grant(limit: 1)).bytes
    bytes[index] = value
    let read = decoded(bytes)
    if let reason {
      #expect(read == .failure(reason))
    } else {
      #expect(read == .success(message(.grant(limit: 1))))
    }
  }

  @Test(arguments: [0, 1, 95, 97, 4096])
  func `another length is none`(count: Int) {
    #expect(decoded([UInt8](repeating: 0x45, count: count)) == .failure(.length(count)))
  }

  @Test func `an amount beyond the greatest, or below nothing, is none`() {
    for value in [-1, Int64.min, .max, ApplicationMessage.most + 1] {
      var bytes = message(.set(1)).bytes
      bytes.replaceSubrange(40..<48, with: withUnsafeBytes(of: value.littleEndian) { Array($0) })
      #expect(decoded(bytes) == .failure(.word(0)))
    }
  }

  @Test func `a newer sender that asks for no more than this version is understood`() {
    var bytes = message(.leave).bytes
    (bytes[4], bytes[5]) = (7, 1)
    #expect(decoded(bytes) == .success(message(.leave)))
    (bytes[4], bytes[5]) = (7, 4)
    #expect(decoded(bytes) == .failure(.version(7, oldest: 4)))
  }

  @Test func `only what version 1 would misunderstand is kept from it`() {
    let isKept = bodies.filter { message($0).bytes[5] == 2 }
    #expect(
      isKept == [
        .join(
          .init(
            held: 0, wanted: 2, declared: 3, floor: 4, ceiling: 5, application: 7,
            isNoChange: true)),
        .refuse(.conflict, figure: 4),
      ])
    #expect(bodies.allSatisfy { message($0).bytes[4] == 3 && message($0).bytes[5] <= 3 })
    #expect(bodies.filter { message($0).bytes[5] == 3 } == [.attend] + bodies.suffix(4))
  }

  @Test func `a share below its minimum, or of no time, is none`() {
    var bytes = message(.share(.init(limit: 3, minimum: 2, deadline: 1))).bytes
    bytes[40] = 1
    #expect(decoded(bytes) == .failure(.word(1)))
    bytes[40] = 2
    bytes[63] = 0x80
    #expect(decoded(bytes) == .failure(.word(2)))
  }

  /// 100,000 frames with up to four bytes changed, and random ones: all that are read say, when
  /// written by this version, what was read.
  @Test func `any bytes are a message that reads back, or an error`() {
    var random = SeededGenerator(seed: 7)
    var found = 0
    for round in 0..<100_000 {
      var bytes = message(bodies[round % bodies.count]).bytes
      if round % 8 == 0 {
        for index in 8..<96 { bytes[index] = UInt8.random(in: 0...255, using: &random) }
      }
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        let index = Int.random(in: 0..<96, using: &random)
        bytes[index] = UInt8.random(in: 0...255, using: &random)
      }
      guard case .success(let read) = decoded(bytes) else { continue }
      found += 1
      if decoded(read.bytes) != .success(read) { Issue.record("not itself: \(bytes)") }
    }
    #expect(found > 10_000)
  }
}
