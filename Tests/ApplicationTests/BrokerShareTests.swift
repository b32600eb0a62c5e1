// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application
@testable import Quantities

private let core: Int64 = 1_000_000_000
private let floor = core / 20
private let agent: Link = 90

@Suite struct BrokerShareTests {
  @Test func `without a word there are the floors for a while, and then what members declare`() {
    var node = ShareNode()
    node.join(1)
    node.join(2)
    #expect(node.sum <= 2 * floor && node.inForce == 2 * floor)
    node.wait(1999 * ms)
    #expect(node.inForce == 2 * floor)
    node.wait(101 * ms)
    #expect(node.inForce == 2 * core && node.sum == 2 * core)
  }

  @Test func `an application of one node has no share`() {
    var node = ShareNode(isCluster: false)
    node.join(1)
    node.share(core / 2, minimum: 0, until: nil)
    #expect(node.refusals == [.nonsense] && node.inForce == core && node.demands.isEmpty)
    #expect(node.broker.deadline == nil)
  }

  @Test func `the share is what there is, whatever an annotation says`() {
    var node = ShareNode()
    node.join(1, wanted: 4 * core, application: 4 * core)
    node.share(core / 2, minimum: core / 4, until: 6000 * ms)
    #expect(node.inForce == core / 2 && node.sum == core / 2)
    node.join(2, wanted: core, application: 8 * core)
    node.wait(200 * ms)
    #expect(node.inForce == core / 2 && node.sum <= core / 2)
    #expect(node.demands.last?.1.explicit == 8 * core)
  }

  @Test func `the broker comes down to the minimum by itself before the deadline`() {
    var node = ShareNode()
    node.join(1, wanted: 2 * core)
    node.share(2 * core, minimum: core / 4, until: 6000 * ms)
    #expect(node.sum == 2 * core)
    node.wait(4499 * ms)
    #expect(node.sum == 2 * core)
    node.wait(2 * ms)
    #expect(node.sum == core / 4 && node.inForce == core / 4)
    #expect(node.broker.deadline == nil)
  }

  @Test func `a share that is said again goes on`() {
    var node = ShareNode()
    node.join(1, wanted: 2 * core)
    for moment in 1...5 {
      node.share(2 * core, minimum: core / 4, until: node.now + 6000 * ms)
      #expect(node.demands.last?.number == UInt64(moment))
      node.wait(3000 * ms)
      #expect(node.sum == 2 * core)
    }
  }

  @Test func `time that the machine has slept counts`() {
    var node = ShareNode(suspended: 5000 * ms)
    node.join(1, wanted: 2 * core)
    node.share(2 * core, minimum: 0, until: 11_000 * ms)
    node.suspended += 5000 * ms
    node.take(.tick)
    #expect(node.inForce == floor && node.sum == floor)
  }

  @Test(arguments: [0, 3000, 7000])
  func `a broker that comes after holds the same deadline`(died: Int64) {
    var node = ShareNode()
    node.join(1, wanted: 2 * core)
    node.share(2 * core, minimum: core / 4, until: 6000 * ms)
    var next = ShareNode(limits: node.limits, registered: node.registrations, at: died * ms)
    next.join(1, wanted: 2 * core, held: 2 * core)
    #expect(next.inForce == (died < 4500 ? 2 * core : core / 4))
    next.wait(8000 * ms - died * ms)
    #expect(next.sum == core / 4 && next.inForce == core / 4)
  }

  @Test func `a broker that comes after waits no longer for the first share`() {
    var node = ShareNode()
    node.join(1)
    node.wait(1500 * ms)
    var next = ShareNode(limits: node.limits, registered: node.registrations, at: node.now)
    next.join(1, held: floor)
    #expect(next.inForce == floor)
    next.wait(700 * ms)
    #expect(next.inForce == core)
  }

  @Test func `a smaller share is said to be in force when it is`() {
    var node = ShareNode()
    node.join(1, wanted: core)
    node.join(2, wanted: core)
    node.share(2 * core, minimum: core / 4, until: 60_000 * ms)
    node.wait(200 * ms)
    #expect(node.sum == 2 * core)
    node.silent = [2]
    node.share(core, minimum: core / 4, until: 60_000 * ms)
    #expect(node.demands.last?.1.inForce == 2 * core)
    node.silent = []
    node.held[2] = floor
    node.say(.giveBack(.init(held: floor, wanted: core)), nonce: 2, on: 2)
    #expect(node.demands.last?.1.inForce == core && node.demands.last?.number == 2)
  }

  @Test func `an agent that has said nothing yet is told what there is, and what changes`() {
    var node = ShareNode()
    node.join(1, wanted: core / 2)
    node.say(.attend, on: agent, number: 0)
    #expect(node.demands.map(\.number) == [0])
    #expect(node.demands.last?.1.declared == core && node.demands.last?.1.inForce == floor)
    node.want(2 * core, 1)
    #expect(node.demands.last?.1.wanted == 2 * core && node.demands.count == 2)
    node.share(core, minimum: core, until: nil, number: 1)
    #expect(node.demands.last?.number == 1 && node.inForce == core)
  }

  @Test func `what an older agent has sent is over`() {
    var node = ShareNode()
    node.join(1, wanted: core)
    node.share(core / 2, minimum: core / 4, until: 60_000 * ms, on: 95)
    node.share(core, minimum: core, until: nil, on: 94)
    #expect(node.inForce == core / 2)
    node.share(core, minimum: core, until: nil, on: 95, number: 1)
    #expect(node.inForce == core / 2)
  }

  @Test func `the agent is told of a shortage at once, and of small changes not at all`() {
    var node = ShareNode()
    node.join(1, wanted: core)
    node.share(core, minimum: core, until: nil)
    let before = node.demands.count
    node.want(core - core / 50, 1)
    #expect(node.demands.count == before)
    node.want(core + 1, 1)
    #expect(node.demands.count == before + 1 && node.demands.last?.1.wanted == core + 1)
    node.want(core / 2, 1)
    #expect(node.demands.count == before + 2)
    node.take(.closed(agent))
    node.want(2 * core, 1)
    #expect(node.demands.count == before + 2)
    #expect(node.broker.deadline == nil)
  }

  /// 2,000 nodes with any shares, agents and brokers that die, members that come, go and want.
  @Test func `the sum is never above the share, nor above its minimum from the deadline on`() {
    var random = SeededGenerator(seed: 22)
    for round in 0..<2000 {
      var node = ShareNode()
      var (minimum, limit, until) = (Int64(0), Int64.max, Nanoseconds.max)
      var isRecalling = false
      for _ in 0..<40 {
        switch Int.random(in: 0..<8, using: &random) {
        case 0 where node.held.count < 4:
          node.join(UInt64(node.held.count + 1), wanted: .random(in: 0...4 * core, using: &random))
        case 1, 2:
          minimum = .random(in: core / 4...core, using: &random)
          limit = minimum + .random(in: 0...3 * core, using: &random)
          until = node.now + .random(in: 0...8000 * ms, using: &random)
          node.share(limit, minimum: minimum, until: until, on: agent + UInt64(round % 2))
        case 3:
          var next = ShareNode(
            limits: node.limits, registered: node.registrations, at: node.now)
          for (nonce, held) in node.held.sorted(by: { $0.key < $1.key }) {
            next.join(nonce, wanted: node.wanted[nonce] ?? 0, held: held)
          }
          node = next
        case 4, 5:
          if let nonce = node.held.keys.sorted().randomElement(using: &random) {
            node.want(.random(in: 0...4 * core, using: &random), nonce)
          }
        default: node.wait(.random(in: 0...3000 * ms, using: &random))
        }
        isRecalling = node.inForce > node.broker.cpu.limit
        let most = node.now >= until - 1500 * ms ? minimum : limit
        guard limit != .max, !isRecalling else { continue }
        #expect(node.sum <= max(most, Int64(node.held.count) * floor))
        // Everybody does what it is told, so the recall is over by now.
        #expect(node.inForce <= most, "round \(round)")
      }
    }
  }
}
