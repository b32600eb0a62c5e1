// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application
@testable import Quantities

private let core: Int64 = 1_000_000_000
private let agent: Link = 90

/// Newcomers that need more than the node's share, while other nodes may have a part to release.
struct BrokerNewcomerTests {
  /// A node at rest: its share is what its member declares, all of which that one needs.
  private func resting() -> ShareNode {
    var node = ShareNode()
    node.join(1, floor: core)
    node.say(.attend, on: agent, number: 0)
    node.share(core, minimum: core, until: nil, number: 1)
    return node
  }

  @Test func `the agent is asked for what a newcomer needs, and the newcomer waits`() {
    var node = resting()
    node.join(2, floor: core)
    #expect(node.refusals.isEmpty && node.waitingNewcomers == [2] && node.welcomed == [1])
    let demand = node.demands.last?.1
    #expect(demand?.declared == 2 * core && demand?.floors == 2 * core)
    #expect(demand?.wanted == 2 * core && demand?.inForce == core)
    node.wait(10 * ms)
    node.share(2 * core, minimum: 2 * core, until: nil, number: 2)
    #expect(node.welcomed == [1, 2] && node.held[2] == core && node.sum == 2 * core)
    #expect(node.demands.last?.1.declared == 2 * core && node.demands.last?.number == 2)
    node.wait(5000 * ms)
    #expect(node.refusals.isEmpty && node.broker.deadline == nil)
  }

  @Test func `a newcomer is refused after a second, and the agent is told`() {
    var node = resting()
    node.join(2, floor: core)
    node.share(core + core / 2, minimum: core + core / 2, until: nil, number: 2)
    node.wait(999 * ms)
    #expect(node.refusals.isEmpty)
    node.wait(2 * ms)
    #expect(node.refusals == [.minima] && node.welcomed == [1])
    #expect(node.demands.last?.1.declared == core && node.demands.last?.1.floors == core)
    #expect(node.broker.deadline == nil)
  }

  @Test func `without an agent it is refused at once`() {
    var node = resting()
    node.take(.closed(agent))
    node.join(2, floor: core)
    #expect(node.refusals == [.minima] && node.waitingNewcomers.isEmpty)
    var other = resting()
    other.join(2, floor: core)
    other.take(.closed(agent))
    #expect(other.refusals == [.minima] && other.broker.deadline == nil)
  }

  @Test func `a floor that the minimum does not hold is no member's`() {
    // At the deadline the minimum holds, and no broker can recall a floor.
    var node = resting()
    node.share(3 * core, minimum: core, until: 60_000 * ms, number: 2)
    node.join(2, floor: core)
    #expect(node.waitingNewcomers == [2])
    node.share(3 * core, minimum: 2 * core, until: 60_000 * ms, number: 3)
    #expect(node.welcomed == [1, 2] && node.sum == 2 * core)
  }

  @Test func `what fits in the share asks nobody`() {
    var node = ShareNode()
    node.join(1)
    node.say(.attend, on: agent, number: 0)
    node.share(core, minimum: core, until: nil, number: 1)
    node.join(2)
    #expect(node.waitingNewcomers.isEmpty && node.welcomed == [1, 2])
  }

  @Test func `a newcomer that has gone is waited for no longer`() {
    var node = resting()
    node.join(2, floor: core)
    node.join(3, floor: core)
    #expect(node.demands.last?.1.floors == 3 * core)
    node.take(.closed(2))
    #expect(node.demands.last?.1.floors == 2 * core)
    node.share(2 * core, minimum: 2 * core, until: nil, number: 2)
    #expect(node.welcomed == [1, 3] && node.refusals.isEmpty && node.broker.deadline == nil)
  }

  @Test func `there is a place when another member leaves`() {
    var node = resting()
    node.join(2, floor: core)
    node.say(.leave, nonce: 1, on: 1)
    node.held[1] = nil
    node.wait(200 * ms)
    #expect(node.welcomed == [1, 2] && node.held[2] == core)
  }

  @Test func `a larger limit that a newcomer brings along is asked for with it`() {
    var node = ShareNode()
    node.join(1, application: 2 * core, floor: core)
    node.say(.attend, on: agent, number: 0)
    node.share(core, minimum: core, until: nil, number: 1)
    node.join(2, application: 4 * core, floor: 2 * core)
    #expect(node.demands.last?.1.explicit == 4 * core)
    node.wait(1001 * ms)
    #expect(node.refusals == [.minima] && node.demands.last?.1.explicit == 2 * core)
    // A smaller one counts when it is a member.
    node.join(3, application: core, floor: core)
    #expect(node.demands.last?.1.explicit == 2 * core)
    node.share(2 * core, minimum: 2 * core, until: nil, number: 2)
    #expect(node.welcomed == [1, 3] && node.demands.last?.1.explicit == core)
  }

  @Test func `a broker that comes after is asked again, and fences no newcomer that waits`() {
    var node = resting()
    node.join(2, floor: core)
    let registered = [(UInt64(1), false), (2, true)].map { nonce, isNewcomer in
      Registration(
        nonce: nonce, declared: core, floor: core, ceiling: 8 * core, isNewcomer: isNewcomer)
    }
    var next = ShareNode(limits: node.limits, registered: registered, at: node.now)
    next.join(1, held: core, floor: core)
    next.say(.attend, on: agent, number: 0)
    next.join(2, floor: core)
    #expect(next.waitingNewcomers == [2] && next.demands.last?.1.floors == 2 * core)
    next.wait(700 * ms)
    #expect(next.fenced.isEmpty)
    next.share(2 * core, minimum: 2 * core, until: nil, number: 1)
    #expect(next.welcomed == [1, 2] && next.held[2] == core)
  }
}
