// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Application

private let mib: Int64 = 1 << 20

/// A broker of memory, and what members are told.
private struct Table {
  var broker: Broker
  var sequence: UInt64 = 0
  /// What each member holds, as it was granted.
  var held: [UInt64: Int64] = [:]

  init(limit: Int64) {
    var actions: [BrokerAction] = []
    broker = Broker(
      epoch: 7, cpu: (ApplicationLimits(), []),
      memory: (ApplicationLimits(explicit: limit, inForce: limit), []), at: 0, &actions)
  }

  /// Says something, and whoever is recalled from lowers its limit to that, or what it has in use.
  mutating func take(_ body: ApplicationMessage.Body, from nonce: UInt64, _ inUse: [UInt64: Int64])
  {
    sequence += 1
    var actions: [BrokerAction] = []
    let message = ApplicationMessage(
      resource: .memory, epoch: 7, nonce: nonce, sequence: sequence, acknowledged: .max, body: body)
    broker.handle(.message(message, on: nonce), at: 0, &actions)
    for case .send(let message, _) in actions {
      switch message.body {
      case .welcome(let limit), .grant(let limit): held[message.nonce] = limit
      case .recall(let limit):
        let kept = max(limit, inUse[message.nonce] ?? 0)
        held[message.nonce] = kept
        let wanted = broker.memory.account(message.nonce)?.wanted ?? kept
        take(
          .giveBack(.init(held: kept, wanted: wanted, spent: inUse[message.nonce] ?? 0)),
          from: message.nonce, inUse)
      default: break
      }
    }
  }

  /// Each wants what it has in use and 16 MiB ahead.
  mutating func want(_ inUse: [UInt64: Int64]) {
    for (nonce, bytes) in inUse.sorted(by: { $0.key < $1.key }) {
      take(
        .grow(.init(held: held[nonce] ?? 0, wanted: bytes + 16 * mib, spent: bytes)), from: nonce,
        inUse)
    }
  }
}

@Suite struct MemoryMarginTests {
  private func table(limit: Int64, _ inUse: [UInt64: Int64]) -> Table {
    var table = Table(limit: limit)
    for nonce in inUse.keys.sorted() {
      table.take(
        .join(
          .init(
            held: 0, wanted: 16 * mib, declared: 16 * mib, floor: mib, ceiling: limit,
            application: limit)),
        from: nonce, inUse)
    }
    table.want(inUse)
    table.want(inUse)
    return table
  }

  @Test func `where there is enough everybody has what it keeps ahead`() {
    let table = table(limit: 256 * mib, [1: 139 * mib, 2: 16 * mib, 3: 4 * mib])
    #expect(table.held == [1: 155 * mib, 2: 32 * mib, 3: 20 * mib])
  }

  @Test func `where there is less all keep as much ahead, and nobody loses what it uses`() {
    let table = table(limit: 180 * mib, [1: 139 * mib, 2: 16 * mib, 3: 4 * mib])
    for (nonce, inUse) in [1: 139 * mib, 2: 16 * mib, 3: 4 * mib] as [UInt64: Int64] {
      #expect((6 * mib...8 * mib).contains((table.held[nonce] ?? 0) - inUse))
    }
    #expect(table.held.values.reduce(0, +) <= 180 * mib)
  }

  @Test func `whoever grows has what others keep ahead, before anybody is refused`() {
    var table = table(limit: 120 * mib, [1: 40 * mib, 2: 10 * mib, 3: 10 * mib])
    // Each time as much more as it was granted before.
    for _ in 0..<8 { table.want([1: 90 * mib, 2: 10 * mib, 3: 10 * mib]) }
    #expect((table.held[1] ?? 0) >= 91 * mib)
    #expect(table.held.values.reduce(0, +) <= 120 * mib)
  }
}
