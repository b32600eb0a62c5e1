// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// A container that is to be a member on a node whose share does not hold its floor.
struct WaitingNewcomer: Sendable {
  var claim: ApplicationMessage.Claim
  var message: ApplicationMessage
  var link: Link
  var deadline: Nanoseconds
}

/// Newcomers that need more than this node has of an application which spans nodes.
///
/// The agent is told the demand with them, as if they were members. Its share brings what they need,
/// or they are refused after ``PoolParameters/shareWait``; at once if there is no agent.
extension Pool {
  /// Has a newcomer wait for the agent.
  mutating func wait(
    for claim: ApplicationMessage.Claim, _ message: ApplicationMessage, _ link: Link,
    _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    newcomers.append(
      WaitingNewcomer(
        claim: claim, message: message, link: link, deadline: now + parameters.shareWait))
    // An answer at once, for silence is death.
    answer(message, .figures(figures), link, &actions)
    settle(now, &actions)
  }

  /// Adds to the demand what a newcomer would bring along.
  func count(
    _ claim: ApplicationMessage.Claim, in demand: inout ApplicationMessage.Demand
  ) {
    demand.wanted += min(max(claim.wanted, claim.floor), claim.ceiling)
    demand.declared += claim.declared
    demand.floors += claim.floor
    // A larger limit is what it may need. A smaller one counts when it is a member.
    if let application = newLimit(of: claim), let explicit = demand.explicit {
      demand.explicit = max(explicit, application)
    }
  }

  /// Takes in each newcomer whose floor the share holds by now.
  mutating func admitNewcomers(_ now: Nanoseconds, _ actions: inout [BrokerAction]) {
    var index = 0
    while index < newcomers.count {
      let newcomer = newcomers[index]
      if newcomer.claim.floor > room(for: newcomer.claim, replacing: nil) {
        index += 1
        continue
      }
      newcomers.remove(at: index)
      // Of several that come at once the first to join says what the limit is.
      if let limit = conflict(of: newcomer.claim, except: newcomer.message.nonce) {
        answer(newcomer.message, .refuse(.conflict, figure: limit), newcomer.link, &actions)
        continue
      }
      // It settles, and so takes in those that come after.
      return admit(newcomer.claim, newcomer.message, newcomer.link, now, &actions)
    }
  }

  /// Refuses those that have waited for too long.
  mutating func refuseNewcomers(at now: Nanoseconds, _ actions: inout [BrokerAction]) {
    while let newcomer = newcomers.first, newcomer.deadline <= now {
      newcomers.removeFirst()
      let left = room(for: newcomer.claim, replacing: nil)
      answer(newcomer.message, .refuse(.minima, figure: left), newcomer.link, &actions)
    }
  }

  /// A connection has closed: a newcomer's, or the agent's, whom they all wait for.
  mutating func closeNewcomer(
    _ link: Link, _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    if agent?.link == link {
      agent = nil
      refuseNewcomers(at: .max, &actions)
    }
    guard let index = newcomers.firstIndex(where: { $0.link == link }) else { return }
    newcomers.remove(at: index)
    settle(now, &actions)
  }

  /// A newcomer says anew what it needs.
  mutating func forgetNewcomer(_ nonce: UInt64) {
    guard let index = newcomers.firstIndex(where: { $0.message.nonce == nonce }) else { return }
    newcomers.remove(at: index)
  }
}
