// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Quantities

/// What a node changes in the ledger: one swap brings everything that is due.
extension NodeShare {
  /// The ledger that is to replace the known one; the ledger nil: none.
  struct Plan {
    var ledger: ClusterLedger?
  }

  /// What a node would hold, by its own figures and what others say of themselves.
  private struct Wish {
    /// The limit that the ledger approaches with this node's own figures.
    var goal: Int64
    /// The part that is kept without a word.
    var minimum: Int64
    /// What the members could use, and some ahead; at least the minimum.
    var need: Int64
    /// Below this nothing is released.
    var least: Int64
    var shares: ClusterShares
    /// What the node is due.
    var due: Int64
  }

  /// The time after which a marked node has stopped to use its share, whatever its clock does.
  ///
  /// Its validity counts from before it has read a ledger without the mark, by a clock that may be
  /// slow; this one may be fast.
  private var silence: Nanoseconds {
    let tolerance = rules.contains(.waitsLonger) ? parameters.clockTolerance : 0
    return parameters.validity / 1000 * (1000 + tolerance) / (1000 - tolerance) * 1000
      + 1_000_000
  }

  /// After as long a lowering is given up: memory that is in use cannot be lowered.
  private static var loweringTime: Nanoseconds { 2_000_000_000 }

  /// What is due now, if anything.
  mutating func plan(_ now: Nanoseconds) -> Plan? {
    if hasEnded { return planLeaving() }
    guard let report else { return nil }
    guard let known else { return Plan(ledger: admit(nil, report)) }
    guard let entry else { return Plan(ledger: admit(known.ledger, report)) }
    let ledger = known.ledger
    let wish = wish(known, entry, report, now)
    let giving = planGiving(wish, entry, ledger, now)
    let taking = planTaking(wish, entry, ledger, giving: giving ?? 0, now)
    // What is raised: a smaller minimum is told to the broker first.
    let minimum =
      wish.minimum > entry.minimum
      ? min(wish.minimum, entry.held - (giving ?? 0) + taking.amount)
      : isLowered(wish, entry, giving) ? min(wish.minimum, entry.minimum) : entry.minimum
    let isAsking = planAsking(wish, entry, now)
    guard
      doubt != .none || entry.mark != nil || report.declared != entry.declared
        || proposal != nil && proposal != ledger.explicit || minimum != entry.minimum
        || giving ?? 0 > 0 || taking.isDue || isAsking
    else { return nil }
    return Plan(
      ledger: ledger.next { next in
        if rules.contains(.clearsBeforeUse) { next.clearMark(of: name) }
        next.declare(report.declared, for: name)
        if let proposal { next.ask(limit: proposal) }
        next.want(max(wish.need, wish.minimum), for: name)
        for other in taking.silent { next.takeFromSilent(other) }
        if let giving, giving > 0 {
          next.hand(giving, from: name, by: wish.shares)
        } else {
          next.take(max(0, wish.due - entry.held), for: name)
        }
        next.keep(minimum: minimum, for: name)
        for other in taking.suspects { next.mark(other, by: name) }
      })
  }

  private mutating func planLeaving() -> Plan? {
    guard let known, known.ledger.nodes[name] != nil || doubt != .none else {
      leave()
      return nil
    }
    let next = known.ledger.next { $0.leave(name) }
    return Plan(ledger: next.nodes.isEmpty ? nil : next)
  }

  /// Brings this node into a ledger, with as much of its minimum as is free.
  private mutating func admit(_ ledger: ClusterLedger?, _ report: BrokerReport) -> ClusterLedger {
    let ledger = ledger ?? ClusterLedger(id: makeID(), explicit: report.explicit)
    return ledger.next {
      // The newest create wins.
      if let explicit = report.explicit { $0.ask(limit: explicit) }
      $0.join(name, declared: report.declared)
      let minimum = minimum(of: $0.declared, goal: $0.goal, report)
      $0.take(minimum, for: name)
      $0.keep(minimum: minimum, for: name)
      $0.want(max(minimum, need(report, minimum: minimum, goal: $0.goal)), for: name)
    }
  }

  /// The part that is kept without a word from the engine; it holds the floors, which no broker can
  /// recall.
  private func minimum(
    of declared: Int64, goal: Int64, _ report: BrokerReport
  ) -> Int64 {
    if parameters.keepsFloors { return report.floors }
    let minimum = ClusterLedger.minimum(declaring: report.declared, of: declared, goal: goal)
    return rules.contains(.keepsMinima) ? max(minimum, report.floors) : minimum
  }

  /// What the members could use, and an eighth ahead, so that not each growth is a swap.
  private func need(_ report: BrokerReport, minimum: Int64, goal: Int64) -> Int64 {
    let wanted = max(report.wanted, report.used)
    if wanted <= minimum { return minimum }
    return max(minimum, min(goal, wanted + max(parameters.grain, wanted / 8)))
  }

  private mutating func wish(
    _ known: LedgerSnapshot, _ entry: ClusterLedger.Node, _ report: BrokerReport,
    _ now: Nanoseconds
  ) -> Wish {
    let declared = known.summary.declared - entry.declared + report.declared
    let goal = proposal ?? known.ledger.explicit ?? declared
    let minimum = minimum(of: declared, goal: goal, report)
    let need = steady(
      need(report, minimum: minimum, goal: goal), minimum: minimum, goal: goal, now)
    var own = entry
    (own.minimum, own.want) = (minimum, need)
    let shares = ClusterShares(known.summary, goal: goal, replacing: entry, by: own)
    // What others keep is not waited for: a ledger in which they keep less is a change.
    let most = goal - (known.summary.minima - entry.minimum)
    return Wish(
      goal: goal, minimum: minimum, need: need,
      least: max(min(minimum, entry.held), report.floors, report.used), shares: shares,
      due: min(shares.target(own), max(entry.held, most)))
  }

  /// The need without what changes all the time.
  ///
  /// It rises at once, and falls at once by half. Otherwise it falls to the most that was needed for a
  /// quarter of ``NodeParameters/linger``, or for all of it where that is little less.
  private mutating func steady(
    _ need: Int64, minimum: Int64, goal: Int64, _ now: Nanoseconds
  ) -> Int64 {
    let old = max(minimum, min(goal, steadyNeed))
    guard need < old, need > old / 2 else {
      (steadyNeed, fall) = (need, nil)
      return need
    }
    var fall = fall ?? Fall(since: now, most: need)
    fall.most = max(fall.most, need)
    self.fall = fall
    let isSmall = old - fall.most < max(parameters.grain, old / 8)
    if now - fall.since < (isSmall ? parameters.linger : parameters.linger / 4) { return old }
    steadyNeed = fall.most
    self.fall = need < fall.most ? Fall(since: now, most: need) : nil
    return fall.most
  }

  // MARK: asking

  /// Whether the ledger has to say what this node wants.
  ///
  /// The first time at once; while the node waits, more of it four times per
  /// ``NodeParameters/linger`` at most, and less after that time.
  private mutating func planAsking(
    _ wish: Wish, _ entry: ClusterLedger.Node, _ now: Nanoseconds
  ) -> Bool {
    let isTooMuch = entry.want > max(entry.held, wish.need)
    overAskedSince = isTooMuch ? overAskedSince ?? now : nil
    if let overAskedSince, now - overAskedSince >= parameters.linger { return true }
    let isTooLittle =
      wish.due > entry.held && entry.want < wish.due
      && (wish.due - max(entry.want, entry.held) >= parameters.grain || entry.held < wish.minimum)
    nextAsk = nil
    guard isTooLittle else { return false }
    guard let lastAsk, entry.want > entry.held, entry.held >= wish.minimum,
      now < lastAsk + parameters.linger / 4
    else { return true }
    nextAsk = lastAsk + parameters.linger / 4
    return false
  }

  // MARK: giving

  /// What may be released in the swap: the limit in force was lowered by that before.
  private mutating func planGiving(
    _ wish: Wish, _ entry: ClusterLedger.Node, _ ledger: ClusterLedger, _ now: Nanoseconds
  ) -> Int64? {
    let held = entry.held
    let idle = held - max(wish.least, wish.need)
    let isIdle =
      idle > 0
      && (wish.need == wish.minimum || idle >= max(parameters.grain, wish.need / 8))
    excessSince = isIdle ? excessSince ?? now : nil
    var amount: Int64 = 0
    if let excessSince, now - excessSince >= parameters.linger { amount = idle }
    amount = max(amount, needed(of: wish, held, ledger))
    guard amount > 0 || wish.minimum < entry.minimum, now >= keptUntil else {
      lowering = nil
      return nil
    }
    guard rules.contains(.lowersFirst) else { return amount }
    let limit = held - amount
    let minimum = min(wish.minimum, entry.minimum, limit)
    if let order, order.limit <= limit, order.minimum <= minimum, isInForce(limit) {
      lowering = Lowering(limit: limit, minimum: minimum, since: lowering?.since ?? now)
      return amount
    }
    if let lowering, now - lowering.since >= Self.loweringTime {
      self.lowering = nil
      keptUntil = now + 2 * Self.loweringTime
      return nil
    }
    lowering = Lowering(limit: limit, minimum: minimum, since: lowering?.since ?? now)
    return nil
  }

  /// What this node has to release so that others get what they are due: of several that hold too
  /// much, each in proportion.
  private func needed(of wish: Wish, _ held: Int64, _ ledger: ClusterLedger) -> Int64 {
    let over = held - max(wish.due, wish.least)
    guard over > 0 else { return 0 }
    var missing = max(0, ledger.limit - wish.goal) - ledger.free
    var excess = over
    for (other, node) in ledger.nodes where other != name {
      missing += wish.shares.shortage(node)
      excess += wish.shares.excess(node)
    }
    guard missing > 0 else { return 0 }
    let part = Proportion.part(over, min(missing, excess), of: excess, roundingUp: true)
    let amount = min(over, missing, max(part, parameters.grain))
    return amount >= parameters.grain || amount == missing ? amount : 0
  }

  /// Whether the local broker has lowered what the swap lowers.
  private func isLowered(_ wish: Wish, _ entry: ClusterLedger.Node, _ giving: Int64?) -> Bool {
    giving != nil || !rules.contains(.lowersFirst)
  }

  // MARK: taking

  private struct Taking {
    var amount: Int64 = 0
    /// Nodes whose share is to be taken, and nodes to be marked.
    var silent: [String] = []
    var suspects: [String] = []
    var isDue = false
  }

  private mutating func planTaking(
    _ wish: Wish, _ entry: ClusterLedger.Node, _ ledger: ClusterLedger, giving: Int64,
    _ now: Nanoseconds
  ) -> Taking {
    var taking = Taking()
    let missing = wish.due - entry.held
    guard missing > 0, giving == 0 else {
      (waitingSince, lackingSince) = (nil, nil)
      return taking
    }
    lackingSince = lackingSince ?? now
    taking.amount = min(ledger.free, missing)
    if taking.amount < parameters.grain, taking.amount < missing, entry.held >= wish.minimum {
      taking.amount = 0
    }
    taking.isDue = taking.amount > 0
    guard missing > taking.amount, missing >= parameters.grain else {
      waitingSince = nil
      return taking
    }
    let since = waitingSince ?? now
    waitingSince = since
    guard parameters.takesFromSilent else { return taking }
    if rules.contains(.marks) {
      for (other, mark) in marks where other != name && now - mark.since >= silence {
        taking.silent.append(other)
      }
    } else if now - since >= silence {
      for (other, node) in ledger.nodes where other != name && wish.shares.excess(node) > 0 {
        taking.silent.append(other)
      }
    }
    if now - since >= parameters.patience {
      // Asked again after as long: a node that answers is no longer marked.
      if rules.contains(.marks) { waitingSince = now }
      for (other, node) in ledger.nodes where other != name && node.mark == nil {
        guard rules.contains(.marks), node.held > node.minimum, wish.shares.excess(node) > 0
        else { continue }
        taking.suspects.append(other)
      }
    }
    taking.isDue = taking.isDue || !taking.silent.isEmpty || !taking.suspects.isEmpty
    return taking
  }

  /// When there is something to plan again; nil while nothing is waited for.
  func plannedDeadline(_ now: Nanoseconds) -> Nanoseconds? {
    var next = Nanoseconds.max
    func consider(_ moment: Nanoseconds?) {
      if let moment, moment > now { next = min(next, moment) }
    }
    consider(excessSince.map { $0 + parameters.linger })
    consider(lowering.map { $0.since + Self.loweringTime })
    if excessSince != nil { consider(keptUntil) }
    consider(overAskedSince.map { $0 + parameters.linger })
    consider(fall.map { $0.since + parameters.linger })
    consider(fall.map { $0.since + parameters.linger / 4 })
    consider(nextAsk)
    if let waitingSince {
      consider(waitingSince + parameters.patience)
      if !rules.contains(.marks) { consider(waitingSince + silence) }
      for (other, mark) in marks where other != name { consider(mark.since + silence) }
    }
    return next == .max ? nil : next
  }
}
