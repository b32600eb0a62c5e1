// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// The share that a node has of an application which spans nodes.
///
/// The agent of the node says what it is, and until when. The broker holds the deadline by itself,
/// and so does any broker after it: what was said last is in `.limits`.
extension Pool {
  /// What this node has at this moment: never less than the floors, which no broker can recall.
  var share: Int64 {
    if let share = limits.share {
      return max(floors, isShareOver ? share.minimum : share.limit)
    }
    // Without a word from an agent a node keeps what its members declare, as with static limits:
    // but an agent that is there is given the time to say that there is less.
    return isShareOver ? max(floors, min(groups.declared, limits.explicit ?? .max)) : floors
  }

  /// What the floors of all members must fit in when another one comes: what holds after the
  /// deadline, for no broker can recall a floor.
  var shareForNewcomers: Int64 { min(limits.share?.minimum ?? .max, most) }

  /// When the share's minimum, or what is declared, begins to hold, on this pool's clock.
  private var shareEnd: Nanoseconds? {
    guard isCluster else { return nil }
    guard let share = limits.share else { return limits.awaitsShareUntil.map { $0 - suspended } }
    guard let deadline = share.deadline, share.limit > share.minimum else { return nil }
    return deadline.subtractingReportingOverflow(parameters.shareLead + suspended).partialValue
  }

  /// Whether it does so by now.
  func isShareDue(_ now: Nanoseconds) -> Bool { shareEnd.map { $0 <= now } ?? false }

  /// When there is something to do about the share.
  var shareDeadline: Nanoseconds? { isShareOver ? nil : shareEnd }

  /// Takes note that the deadline is near, or that no agent has said anything.
  mutating func expireShare(_ now: Nanoseconds) {
    guard !isShareOver, isShareDue(now) else { return }
    isShareOver = true
    sharesAreStale = true
  }

  /// The agent says what this node has.
  mutating func bound(
    by share: ApplicationMessage.Share, _ message: ApplicationMessage, _ link: Link,
    _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    guard isCluster else {
      return answer(message, .refuse(.nonsense, figure: 0), link, &actions)
    }
    // Connections count up: what an agent before this one had sent is over.
    if let agent,
      agent.link > link || agent.link == link && agent.message.sequence >= message.sequence
    {
      return
    }
    agent = (link, message)
    limits.share = share
    limits.awaitsShareUntil = nil
    isShareOver = isShareDue(now)
    sharesAreStale = true
    toldDemand = nil
    settle(now, &actions)
  }

  /// The agent has connected: its messages arrive later.
  mutating func attend(
    _ message: ApplicationMessage, _ link: Link, _ actions: inout [BrokerAction]
  ) {
    guard isCluster else {
      return answer(message, .refuse(.nonsense, figure: 0), link, &actions)
    }
    if let agent, agent.link >= link { return }
    agent = (link, message)
    toldDemand = nil
    reportDemand(&actions)
  }

  /// Tells the agent what it has to know, when that is another thing than it was told.
  mutating func reportDemand(_ actions: inout [BrokerAction]) {
    guard let agent else { return }
    let most = ApplicationMessage.most
    var demand = ApplicationMessage.Demand(
      inForce: limits.inForce, wanted: wanted, used: used, declared: groups.declared,
      floors: floors, explicit: limits.explicit)
    for newcomer in newcomers { count(newcomer.claim, in: &demand) }
    demand.inForce = min(demand.inForce, most)
    demand.wanted = min(demand.wanted, most)
    demand.used = min(demand.used, most)
    demand.declared = min(demand.declared, most)
    demand.floors = min(demand.floors, most)
    demand.explicit = demand.explicit.map { min($0, most) }
    if let toldDemand, !isWorthwhile(demand, after: toldDemand) { return }
    toldDemand = demand
    answer(agent.message, .demand(demand), agent.link, &actions)
  }

  /// Members change what they could use all the time; a swap in an engine is worth a part of the
  /// limit, or that there is not enough.
  private func isWorthwhile(
    _ demand: ApplicationMessage.Demand, after told: ApplicationMessage.Demand
  ) -> Bool {
    var rest = told
    (rest.wanted, rest.used) = (demand.wanted, demand.used)
    if rest != demand || (demand.wanted > limit) != (told.wanted > limit) { return true }
    let step = max(parameters.grain, limit / 16)
    return abs(demand.wanted - told.wanted) >= step || abs(demand.used - told.used) >= step
  }
}
