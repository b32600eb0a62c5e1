// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application

private let core: Int64 = 1_000_000_000

/// A member, and what it does.
private struct Seat {
  var member = Member(
    nonce: 1, resource: .cpu,
    claim: .init(held: 0, wanted: core, declared: core, floor: core / 20, ceiling: 4 * core))
  var number: UInt64 = 0

  mutating func take(_ event: Member.Event, at now: Int64 = 0) -> [String] {
    var actions: [MemberAction] = []
    member.handle(event, at: now, &actions)
    return actions.map { action in
      switch action {
      case .send(let message):
        switch message.body {
        case .join(let claim): "join \(claim.held)"
        case .grow(let holding): "grow \(holding.held) to \(holding.wanted)"
        case .giveBack(let holding): "give back to \(holding.held)"
        default: "\(message.body)"
        }
      case .write(let limit): "write \(limit)"
      case .fence: "fence"
      case .refused: "refused"
      }
    }
  }

  mutating func hear(
    _ body: ApplicationMessage.Body, epoch: UInt64 = 5, on link: Link = 1,
    acknowledged: UInt64 = .max
  ) -> [String] {
    number += 1
    return take(
      .message(
        ApplicationMessage(
          resource: .cpu, epoch: epoch, nonce: 1, sequence: number, acknowledged: acknowledged,
          body: body), on: link))
  }

  /// A member that holds this much.
  static func holding(_ amount: Int64) -> Seat {
    var seat = Seat()
    _ = seat.take(.connected(1))
    _ = seat.hear(.welcome(limit: 0))
    _ = seat.hear(.grant(limit: amount))
    _ = seat.take(.wrote(min(amount, core), spent: 0))
    return seat
  }
}

@Suite struct MemberTests {
  @Test func `a newcomer writes nothing before it was granted its floor`() {
    var seat = Seat()
    #expect(seat.take(.connected(1)) == ["join 0"])
    #expect(seat.hear(.welcome(limit: 0)).isEmpty)
    #expect(seat.hear(.grant(limit: core / 50)).isEmpty)
    #expect(seat.hear(.grant(limit: core)) == ["write \(core)"])
  }

  @Test func `a newcomer that declares less than its floor begins with its floor`() {
    var seat = Seat()
    seat.member = Member(
      nonce: 1, resource: .cpu,
      claim: .init(
        held: 0, wanted: core / 50, declared: core / 50, floor: core / 20, ceiling: core))
    #expect(seat.take(.connected(1)) == ["join 0"])
    #expect(seat.hear(.welcome(limit: 0)).isEmpty)
    #expect(seat.hear(.grant(limit: core / 20)) == ["write \(core / 20)"])
  }

  @Test func `the kernel's limit goes down before it is given back, and up after the grant`() {
    var seat = Seat.holding(core)
    #expect(seat.take(.want(core / 2)) == ["write \(core / 2)"])
    #expect(seat.take(.wrote(core / 2, spent: 0)) == ["give back to \(core / 2)"])
    #expect(seat.take(.want(core)) == ["grow \(core / 2) to \(core)"])
    #expect(seat.hear(.grant(limit: core)) == ["write \(core)"])
    #expect(seat.take(.wrote(core, spent: 0)).isEmpty, "a grant needs no thanks")
  }

  @Test func `a recall is answered when the limit was lowered, also where it could not be`() {
    var seat = Seat.holding(core)
    #expect(seat.hear(.recall(limit: core / 2)) == ["write \(core / 2)"])
    #expect(
      seat.take(.wrote(core / 2, spent: 0)) == ["grow \(core / 2) to \(core)"],
      "what it could use it says in the same breath")
    _ = seat.hear(.grant(limit: core / 2))
    #expect(seat.hear(.recall(limit: core / 4)) == ["write \(core / 4)"])
    #expect(seat.take(.wrote(core / 2, spent: 0)) == ["give back to \(core / 2)"])
  }

  @Test func `what comes by a closed connection, or from an older broker, is not applied`() {
    var seat = Seat.holding(core / 2)
    _ = seat.take(.closed(1))
    #expect(seat.hear(.grant(limit: core)).isEmpty)
    #expect(seat.take(.connected(2)) == ["join \(core / 2)"])
    #expect(seat.hear(.welcome(limit: core), epoch: 5, on: 1).isEmpty)
    #expect(seat.hear(.welcome(limit: core), epoch: 4, on: 2).isEmpty)
    #expect(seat.hear(.welcome(limit: core / 2), epoch: 6, on: 2).isEmpty)
    #expect(seat.hear(.grant(limit: core), epoch: 6, on: 2) == ["write \(core)"])
  }

  @Test func `a new broker is told what may still be written`() {
    var seat = Seat.holding(core / 2)
    _ = seat.hear(.grant(limit: core))
    _ = seat.take(.closed(1))
    #expect(seat.take(.connected(2)) == ["join \(core)"], "the write is on its way")
  }

  @Test func `without a broker the limit goes down, never up`() {
    var seat = Seat.holding(core)
    _ = seat.take(.closed(1))
    #expect(seat.take(.want(core / 2)) == ["write \(core / 2)"])
    #expect(seat.take(.wrote(core / 2, spent: 0)).isEmpty)
    #expect(seat.take(.want(core)).isEmpty)
  }

  @Test func `a broker that is silent for 200 ms is killed, once`() {
    var seat = Seat.holding(core)
    _ = seat.take(.want(2 * core), at: 0)
    #expect(seat.member.deadline == 200_000_000)
    #expect(seat.take(.tick, at: 199_999_999).isEmpty)
    #expect(seat.take(.tick, at: 200_000_000) == ["fence"])
    #expect(seat.member.deadline == nil)
  }
}
