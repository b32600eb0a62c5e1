// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What happens to a pool: frames, ends of connections, reports of deaths, and the time.
extension Pool {
  mutating func receive(
    _ message: ApplicationMessage, on link: Link, at now: Nanoseconds,
    _ actions: inout [BrokerAction]
  ) {
    switch message.body {
    case .join(let claim): return join(claim, message, link, now, &actions)
    case .status:
      return answer(message, .figures(figures), link, &actions)
    case .set(let limit):
      if limit < floors {
        return answer(message, .refuse(.minima, figure: floors), link, &actions)
      }
      limits.explicit = limit
      setter = (link, message, now + parameters.recallTime)
      sharesAreStale = true
      return settle(now, &actions)
    case .attend: return attend(message, link, &actions)
    case .share(let share): return bound(by: share, message, link, now, &actions)
    default: break
    }
    // A connection that was replaced, or closed, speaks of what is over.
    let known =
      rules.contains(.checksEpochs)
      ? message.epoch == epoch ? byLink[link] : nil : byNonce[message.nonce]
    guard let index = known, accounts[index].standing == .joined else { return }
    switch message.body {
    case .grow(let holding): hear(holding, message, index, asks: true, now, &actions)
    case .giveBack(let holding): hear(holding, message, index, asks: false, now, &actions)
    case .leave:
      rest(accounts[index].charged, now)
      remove(index)
      settle(now, &actions)
    default: break
    }
  }

  private mutating func join(
    _ claim: ApplicationMessage.Claim, _ message: ApplicationMessage, _ link: Link,
    _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    let known = byNonce[message.nonce]
    // What a dead predecessor had said and nobody had read yet: connections count up.
    if let known, accounts[known].link > link, rules.contains(.checksEpochs) { return }
    forgetNewcomer(message.nonce)
    // Nobody has granted it anything yet, also where its file was found by a new broker.
    let account = known.map { accounts[$0] }
    if claim.held == 0, account.map({ $0.charged == 0 && $0.standing != .joined }) ?? true {
      if let limit = conflict(of: claim, except: message.nonce) {
        return answer(message, .refuse(.conflict, figure: limit), link, &actions)
      }
      let left = room(for: claim, replacing: account)
      if claim.floor > left {
        if isCluster, agent != nil, limits.share != nil {
          if let known { remove(known) }
          return wait(for: claim, message, link, now, &actions)
        }
        return answer(message, .refuse(.minima, figure: left), link, &actions)
      }
    }
    admit(claim, message, link, now, &actions)
  }

  /// What the floors of the other members leave of the limit that a newcomer would join.
  func room(for claim: ApplicationMessage.Claim, replacing account: Account?) -> Int64 {
    let least = floors - (account?.floor ?? 0)
    if isCluster { return max(0, shareForNewcomers - least) }
    var groups = groups
    if let account { groups.count(declared: account.declared, in: account.group, -1) }
    groups.note(claim.group)
    groups.count(declared: claim.declared, in: claim.group?.id, 1)
    let limit = newLimit(of: claim) ?? limits.explicit ?? groups.declared
    return max(0, min(limit, most) - least)
  }

  /// The application's limit that a newcomer brings along.
  ///
  /// What the operator has set since is not undone by the annotation that was there before.
  func newLimit(of claim: ApplicationMessage.Claim) -> Int64? {
    claim.application == limits.annotated ? nil : claim.application
  }

  /// Takes a member in, which holds what it claims.
  mutating func admit(
    _ claim: ApplicationMessage.Claim, _ message: ApplicationMessage, _ link: Link,
    _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    let known = byNonce[message.nonce]
    let isNew = known.map { accounts[$0].charged == 0 && accounts[$0].standing != .joined } ?? true
    // The newest create wins; who comes back does not.
    if claim.held == 0, isNew, let application = newLimit(of: claim) {
      (limits.explicit, limits.annotated) = (application, application)
    }
    groups.note(claim.group)
    let index =
      known
      ?? add(
        Account(
          nonce: message.nonce, standing: .lost, declared: claim.declared, floor: claim.floor,
          ceiling: claim.ceiling, priority: claim.priority, report: claim.group))
    // What it held before it was lost and does not hold now may have been used a moment ago.
    let before = accounts[index].charged
    if before > claim.held { rest(before - claim.held, now) }
    if accounts[index].standing == .joined { byLink[accounts[index].link] = nil }
    let group = accounts[index].group
    change(index) { account in
      account.standing = .joined
      account.link = link
      account.charged = claim.held
      account.declared = claim.declared
      account.floor = claim.floor
      account.ceiling = claim.ceiling
      account.priority = claim.priority
      account.report = claim.group
      account.bound = .max
      account.wanted = min(max(claim.wanted, claim.floor), claim.ceiling)
      (account.sequence, account.lastGrant, account.recall) = (0, 0, nil)
      account.need = 0
      account.heard = message.sequence
      account.leftAloneUntil = .min
      (account.isAsking, account.isFenced) = (false, false)
    }
    groups.forget(group)
    byLink[link] = index
    actions.append(.watch(message.nonce))
    tell(index, .welcome(limit: claim.held), &actions)
    settle(now, &actions)
  }

  /// The limit that a newcomer would change and must not; nil where it may join.
  func conflict(of claim: ApplicationMessage.Claim, except nonce: UInt64) -> Int64? {
    guard claim.isNoChange, let application = claim.application,
      application != limits.annotated
    else { return nil }
    // Of several that come at once the first to join says what the limit is.
    let running = accounts.filter {
      $0.nonce != nonce && !($0.standing == .expected && $0.isNewcomer)
    }
    if running.isEmpty { return nil }
    let limit = limits.explicit ?? groups.declared(by: running)
    return application == limit ? nil : min(limit, ApplicationMessage.most)
  }

  private mutating func hear(
    _ holding: ApplicationMessage.Holding, _ message: ApplicationMessage, _ index: Int,
    asks: Bool, _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    let before = accounts[index].charged
    let (rules, backOff) = (rules, parameters.backOff)
    let isInUse = resource == .memory
    change(index) { account in
      account.heard = message.sequence
      account.wanted = min(max(holding.wanted, account.floor), account.ceiling)
      account.isAsking = asks
      if isInUse { account.need = min(holding.spent, holding.held) }
      if message.acknowledged >= account.lastGrant
        || !rules.contains(.checksAcknowledgements)
      {
        account.charged = holding.held
      }
      if let recall = account.recall, message.acknowledged >= recall.sequence {
        account.recall = nil
        if account.charged > recall.limit {
          account.leftAloneUntil = now + backOff
        }
      }
    }
    if accounts[index].leftAloneUntil > now {
      leftAlone.append(message.nonce, at: now + backOff)
    }
    let released = before - accounts[index].charged
    if released > 0 { rest(min(released, max(0, holding.spent - holding.held)), now) }
    serveAlone(index, &actions)
    settle(now, &actions)
    guard accounts[index].isAsking else { return }
    // Nothing more at the moment; an answer all the same, for silence is death.
    tell(index, .grant(limit: accounts[index].charged), &actions)
  }

  /// Where nobody else waits and there is enough, there is nothing to plan.
  private mutating func serveAlone(_ index: Int, _ actions: inout [BrokerAction]) {
    boundGroups()
    let missing = accounts[index].reach - accounts[index].charged
    guard waiting == 1, accounts[index].isWaiting, accounts[index].recall == nil, isRecovered,
      missing <= free, accounts[index].bound == .max
    else { return }
    change(index) { $0.charged += missing }
    tell(index, .grant(limit: accounts[index].charged), &actions)
  }

  /// Takes note that a connection has closed, which frees nothing.
  mutating func close(_ link: Link, at now: Nanoseconds, _ actions: inout [BrokerAction]) {
    if setter?.link == link { setter = nil }
    closeNewcomer(link, now, &actions)
    guard let index = byLink.removeValue(forKey: link), accounts[index].link == link else {
      return
    }
    let rules = rules
    change(index) { account in
      account.standing = .lost
      account.recall = nil
      account.isAsking = false
      if !rules.contains(.keepsOrphans) { account.charged = 0 }
    }
    // Its death may have been reported while the connection was still open.
    actions.append(.watch(accounts[index].nonce))
    settle(now, &actions)
  }

  /// A supervisor is dead, and this is what its container's limit is, or may still become.
  mutating func orphaned(
    _ nonce: UInt64, holding held: Int64, at now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    guard let index = byNonce[nonce] else { return }
    // Another has joined in its place meanwhile.
    guard accounts[index].standing != .joined else { return }
    let before = accounts[index].charged
    if before > held { rest(before - held, now) }
    change(index) { account in
      account.standing = .orphan
      account.charged = held
    }
    settle(now, &actions)
  }

  /// A member's cgroup is gone, and its supervisor too.
  mutating func gone(_ nonce: UInt64, at now: Nanoseconds, _ actions: inout [BrokerAction]) {
    guard let index = byNonce[nonce], accounts[index].standing != .joined else { return }
    rest(accounts[index].charged, now)
    remove(index)
    settle(now, &actions)
  }

  // MARK: time

  /// When ``tick(at:_:)`` has something to do; nil while nobody waits for anything.
  package var deadline: Nanoseconds? {
    var next = min(rejoinDeadline ?? .max, setter?.deadline ?? .max)
    next = min(next, recalls.first?.moment ?? .max, shareDeadline ?? .max)
    next = min(next, newcomers.first?.deadline ?? .max)
    if waiting > 0 || charged > limit {
      next = min(next, resting.first?.moment ?? .max, leftAlone.first?.moment ?? .max)
    }
    return next == .max ? nil : next
  }

  mutating func tick(at now: Nanoseconds, _ actions: inout [BrokerAction]) {
    if let moment = rejoinDeadline, moment <= now {
      rejoinDeadline = nil
      for account in accounts where account.standing == .expected {
        actions.append(.fence(account.nonce))
      }
    }
    while let (moment, recall) = recalls.first, moment <= now {
      recalls.removeFirst()
      guard let index = byNonce[recall.nonce],
        accounts[index].recall?.sequence == recall.sequence
      else { continue }
      accounts[index].isFenced = true
      actions.append(.fence(recall.nonce))
    }
    refuseNewcomers(at: now, &actions)
    settle(now, &actions)
    if let setter, setter.deadline <= now {
      self.setter = nil
      answer(setter.message, .figures(figures), setter.link, &actions)
    }
  }

  /// What follows from what has just changed.
  mutating func settle(_ now: Nanoseconds, _ actions: inout [BrokerAction]) {
    while let (moment, amount) = resting.first, moment <= now {
      rested -= amount
      resting.removeFirst()
    }
    while let (moment, nonce) = leftAlone.first, moment <= now {
      leftAlone.removeFirst()
      if let index = byNonce[nonce], accounts[index].leftAloneUntil <= now {
        accounts[index].leftAloneUntil = .min
      }
    }
    dropAnsweredRecalls()
    expireShare(now)
    if expected == 0 {
      rejoinDeadline = nil
      if hasHistory { rest(limit - charged - rested, now) }
      hasHistory = false
    }
    boundGroups()
    enforce(&actions)
    if waiting > 0 || charged > limit { plan(now, &actions) }
    if let setter, limits.inForce <= limit {
      self.setter = nil
      answer(setter.message, .figures(figures), setter.link, &actions)
    }
    if !newcomers.isEmpty { admitNewcomers(now, &actions) }
    reportDemand(&actions)
  }

  /// No timer runs for what was answered.
  private mutating func dropAnsweredRecalls() {
    while let (_, recall) = recalls.first {
      if let index = byNonce[recall.nonce],
        accounts[index].recall?.sequence == recall.sequence
      {
        return
      }
      recalls.removeFirst()
    }
  }

  /// A larger limit is in force at once, a smaller one when the rest was recalled.
  private mutating func enforce(_ actions: inout [BrokerAction]) {
    let isKept = limit >= limits.inForce || (isRecovered && charged <= limit)
    var next = limits
    next.inForce = isKept || !rules.contains(.recallsBeforeForce) ? limit : limits.inForce
    if next == told { return }
    limits = next
    told = next
    actions.append(.limits(resource, next))
  }

  mutating func rest(_ amount: Int64, _ now: Nanoseconds) {
    guard amount > 0, parameters.rest > 0, rules.contains(.restsSpent) else { return }
    rested += amount
    resting.append(amount, at: now + parameters.rest)
  }
}
