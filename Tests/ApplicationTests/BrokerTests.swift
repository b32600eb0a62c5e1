// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application
@testable import Quantities

private let core: Int64 = 1_000_000_000
/// A broker of one resource, and what it says.
private struct Table {
  var broker: Broker
  var actions: [BrokerAction] = []
  var sequence: UInt64 = 0

  init(limit: Int64?, registered: [Registration] = []) {
    let limits = ApplicationLimits(explicit: limit, inForce: limit ?? 0)
    broker = Broker(
      epoch: 7, cpu: (limits, registered), memory: (ApplicationLimits(), []), at: 0, &actions)
  }

  mutating func take(
    _ body: ApplicationMessage.Body, from nonce: UInt64, on link: Link? = nil, at now: Int64 = 0,
    acknowledged: UInt64 = 0, epoch: UInt64 = 7
  ) -> [ApplicationMessage.Body] {
    sequence += 1
    let message = ApplicationMessage(
      resource: .cpu, epoch: epoch, nonce: nonce, sequence: sequence,
      acknowledged: acknowledged, body: body)
    return take(.message(message, on: link ?? nonce), at: now)
  }

  mutating func take(_ event: Broker.Event, at now: Int64 = 0) -> [ApplicationMessage.Body] {
    actions = []
    broker.handle(event, at: now, &actions)
    return actions.compactMap { action in
      if case .send(let message, _) = action { message.body } else { nil }
    }
  }

  mutating func join(
    _ nonce: UInt64, held: Int64 = 0, wanted: Int64, on link: Link? = nil,
    application: Int64? = nil, isNoChange: Bool = false
  ) -> [ApplicationMessage.Body] {
    take(
      .join(
        .init(
          held: held, wanted: wanted, declared: core, floor: core / 20, ceiling: 8 * core,
          application: application, isNoChange: isNoChange)),
      from: nonce, on: link, epoch: 0)
  }

  func charged(_ nonce: UInt64) -> Int64? { broker.cpu.account(nonce)?.charged }
}

@Suite struct BrokerTests {
  @Test(arguments: [false, true])
  func `an annotation that was there before undoes nothing, a changed one wins`(
    isNoChange: Bool
  ) {
    var table = Table(limit: nil)
    _ = table.join(1, wanted: core, application: 3 * core)
    _ = table.take(.set(2 * core), from: 0, on: 9, epoch: 0)
    #expect(table.broker.cpu.limit == 2 * core)
    _ = table.join(2, wanted: core, application: 3 * core, isNoChange: isNoChange)
    #expect(table.broker.cpu.account(2) != nil)
    #expect(table.broker.cpu.limit == 2 * core)
    _ = table.join(3, wanted: core, application: 4 * core)
    #expect(table.broker.cpu.limit == 4 * core)
    _ = table.join(4, wanted: core, application: 3 * core)
    #expect(table.broker.cpu.limit == 3 * core, "back to it is a change, too")
  }

  @Test func `of two newcomers that must not change the limit the first says what it is`() {
    var table = Table(limit: nil)
    let first = table.join(1, wanted: core, application: 3 * core, isNoChange: true)
    #expect(first.first == .welcome(limit: 0))
    let other = table.join(2, wanted: core, application: 2 * core, isNoChange: true)
    #expect(other == [.refuse(.conflict, figure: 3 * core)])
    #expect(table.broker.cpu.limit == 3 * core)
    #expect(table.charged(2) == nil, "nothing is left of it")
    let same = table.join(3, wanted: core, application: 3 * core, isNoChange: true)
    #expect(same.first == .welcome(limit: 0))
    #expect(table.join(4, wanted: core, isNoChange: true).first == .welcome(limit: 0))
    // Without that, the newest wins.
    #expect(table.join(5, wanted: core, application: 4 * core).first == .welcome(limit: 0))
    #expect(table.broker.cpu.limit == 4 * core)
  }

  @Test func `a limit that adds up, or that an operator has set, is one to agree with`() {
    var table = Table(limit: nil)
    _ = table.join(1, wanted: core)
    #expect(
      table.join(2, wanted: core, application: 2 * core, isNoChange: true)
        == [.refuse(.conflict, figure: core)])
    _ = table.take(.set(2 * core), from: 9, epoch: 0)
    #expect(
      table.join(2, wanted: core, application: 2 * core, isNoChange: true).first
        == .welcome(limit: 0))
  }

  @Test func `who has registered and not joined yet has no say`() {
    func newcomer(_ nonce: UInt64) -> Registration {
      Registration(
        nonce: nonce, declared: core, floor: core / 20, ceiling: 8 * core, isNewcomer: true)
    }
    var table = Table(limit: nil, registered: [newcomer(1), newcomer(2)])
    #expect(
      table.join(1, wanted: core, application: 2 * core, isNoChange: true).first
        == .welcome(limit: 0))
    #expect(
      table.join(2, wanted: core, application: 3 * core, isNoChange: true)
        == [.refuse(.conflict, figure: 2 * core)])
  }

  @Test func `a new broker knows the limit from the one before`() {
    let member = Registration(nonce: 1, declared: core, floor: core / 20, ceiling: 8 * core)
    var table = Table(limit: 3 * core, registered: [member])
    #expect(
      table.join(2, wanted: core, application: 2 * core, isNoChange: true)
        == [.refuse(.conflict, figure: 3 * core)])
    // Its own file was found, and nobody else's: it is alone.
    var alone = Table(limit: 3 * core, registered: [member])
    #expect(
      alone.join(1, wanted: core, application: 2 * core, isNoChange: true).first
        == .welcome(limit: 0))
  }

  @Test func `a newcomer is welcomed with nothing, and granted what it declares in one go`() {
    var table = Table(limit: nil)
    #expect(table.join(1, wanted: core) == [.welcome(limit: 0), .grant(limit: core)])
    #expect(table.broker.cpu.limits.inForce == core, "what members declare adds up")
    #expect(table.broker.deadline == nil, "nobody waits, so no timer runs")
  }

  @Test func `what is free is granted at once, and what is not is answered at once`() {
    var table = Table(limit: 3 * core)
    _ = table.join(1, wanted: core)
    #expect(
      table.take(.grow(.init(held: core, wanted: 2 * core)), from: 1, acknowledged: 2)
        == [.grant(limit: 2 * core)])
    _ = table.join(2, wanted: core)
    // All is charged, and each has what is fair: no more, and nothing to recall.
    #expect(
      table.take(.grow(.init(held: core, wanted: core + core / 2)), from: 2, acknowledged: 2).last
        == .grant(limit: core))
  }

  @Test func `what is missing is recalled in proportion to what is above the fair share`() {
    var table = Table(limit: 4 * core)
    for (nonce, held) in [(1, 2 * core), (2, core * 3 / 2), (3, core / 2)] {
      _ = table.join(UInt64(nonce), held: held, wanted: held)
    }
    let said = table.join(4, wanted: core)
    #expect(
      said == [
        .welcome(limit: 0),
        .recall(limit: 1_333_333_333), .recall(limit: 1_166_666_666),
      ], "what all want is divided anew, and the third has what it wants")
    #expect(table.broker.deadline == 1000 * ms)
  }

  @Test func `what was spent in this period rests for one before it is granted again`() {
    var table = Table(limit: core)
    _ = table.join(1, held: core, wanted: core)
    _ = table.join(2, wanted: core)
    let back = ApplicationMessage.Body.giveBack(
      .init(held: core / 2, wanted: core / 2, spent: core))
    #expect(table.take(back, from: 1, at: 5 * ms, acknowledged: 2).isEmpty)
    #expect(table.broker.deadline == 105 * ms)
    #expect(table.take(.tick, at: 105 * ms) == [.grant(limit: core / 2)])
  }

  @Test func `a statement that has not seen the last grant frees nothing`() {
    var table = Table(limit: 3 * core)
    _ = table.join(1, wanted: core)
    _ = table.take(.giveBack(.init(held: core / 2, wanted: core / 2)), from: 1, acknowledged: 1)
    #expect(table.charged(1) == core)
    _ = table.take(.giveBack(.init(held: core / 2, wanted: core / 2)), from: 1, acknowledged: 2)
    #expect(table.charged(1) == core / 2)
  }

  @Test func `nothing goes up before everybody in the files is known`() {
    let known = [1, 2].map {
      Registration(nonce: $0, declared: core, floor: core / 20, ceiling: core)
    }
    var table = Table(limit: 2 * core, registered: known)
    #expect(table.actions == [.watch(1), .watch(2)])
    #expect(table.join(3, wanted: core) == [.welcome(limit: 0)])
    #expect(table.join(1, held: core / 2, wanted: core / 2) == [.welcome(limit: core / 2)])
    _ = table.take(.tick, at: 500 * ms)
    #expect(table.actions == [.fence(2)], "it lives, and has not come back")
    _ = table.take(.orphaned(2, cpu: core, memory: 0), at: 510 * ms)
    // What nobody holds may have been used under the broker before.
    #expect(table.take(.tick, at: 610 * ms) == [.grant(limit: core / 2)])
  }

  @Test func `a closed connection frees nothing, and a dead supervisor what the kernel says`() {
    var table = Table(limit: 2 * core)
    _ = table.join(1, held: core, wanted: core)
    _ = table.take(.closed(1))
    #expect(table.charged(1) == core)
    _ = table.take(.orphaned(1, cpu: core / 4, memory: 0))
    #expect(table.charged(1) == core / 4)
    _ = table.take(.gone(1))
    #expect(table.charged(1) == nil && table.broker.cpu.charged == 0)
  }

  @Test func `who does not answer a recall for a second is fenced, and keeps what it holds`() {
    var table = Table(limit: core)
    _ = table.join(1, held: core, wanted: core)
    _ = table.join(2, wanted: core)
    _ = table.take(.tick, at: 1000 * ms)
    #expect(table.actions == [.fence(1)])
    #expect(table.charged(1) == core)
    #expect(table.broker.deadline == nil)
  }

  @Test func `what a dead predecessor had said is not taken for its successor's word`() {
    var table = Table(limit: 2 * core)
    _ = table.join(1, held: core, wanted: core, on: 11)
    #expect(table.join(1, held: core / 2, wanted: core, on: 10).isEmpty)
    #expect(table.charged(1) == core)
    #expect(
      table.take(.leave, from: 1, on: 11, epoch: 6).isEmpty && table.charged(1) == core,
      "nor what was meant for another broker")
  }

  @Test func `a smaller limit is in force when the rest was recalled, and said to be then`() {
    var table = Table(limit: 2 * core)
    _ = table.join(1, held: 2 * core, wanted: 2 * core)
    #expect(table.take(.set(core), from: 0, on: 99) == [.recall(limit: core)])
    #expect(table.broker.cpu.limits.inForce == 2 * core)
    let said = table.take(
      .giveBack(.init(held: core, wanted: 2 * core)), from: 1, acknowledged: 2)
    let figures = ApplicationMessage.Figures(
      limit: core, inForce: core, charged: core, members: 1, waiting: 1)
    #expect(said == [.figures(figures)])
  }

  @Test func `a limit below the floors of all is refused, with what they are`() {
    var table = Table(limit: 2 * core)
    _ = table.join(1, wanted: core)
    #expect(
      table.take(.set(core / 50), from: 0, on: 99) == [.refuse(.minima, figure: core / 20)])
  }
}
