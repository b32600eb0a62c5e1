// SPDX-License-Identifier: Apache-2.0
package import Syscalls

/// The ledger of one resource of an application, and who gets what of it: the broker's half of the
/// protocol.
///
/// The rule that everything else stands on: what is *charged* to a member is never less than what
/// its kernel limit is, or may still become by anything that was sent to it. It goes up before a
/// grant is sent, and down only when the member, having seen the last grant, says that it holds
/// less; or when its supervisor is dead and the kernel was asked. The sum of what is charged never
/// goes above the limit.
package struct Pool: Sendable {
  package enum Standing: Sendable {
    /// Its file was found; what it holds is not known yet.
    case expected
    case joined
    /// Its connection has closed; what is charged is the most that it may hold.
    case lost
    /// Its supervisor is dead, and what is charged is the kernel's.
    case orphan
  }

  /// A member in the books.
  package struct Account: Sendable {
    package let nonce: UInt64
    package var standing: Standing
    package var link: Link = 0
    /// The most that its kernel limit is or may become by what was granted.
    package var charged: Int64 = 0
    package var wanted: Int64 = 0
    package var declared: Int64
    package var floor: Int64
    package var ceiling: Int64
    package var priority: Int32
    /// Our last frame to it, the last one that was a grant, and its last one to us.
    var sequence: UInt64 = 0
    var lastGrant: UInt64 = 0
    var heard: UInt64 = 0
    /// It waits for an answer.
    var isAsking = false
    package var recall: (limit: Int64, sequence: UInt64, deadline: Nanoseconds)?
    package var leftAloneUntil: Nanoseconds = .min
    var isFenced = false
    /// It was charged more, and is to be told.
    var isGranted = false

    var share: FairShares.Member {
      FairShares.Member(floor: floor, ceiling: ceiling, wanted: wanted, priority: priority)
    }
    var isWaiting: Bool { standing == .joined && wanted > charged }
  }

  package let resource: SharedResource
  package let epoch: UInt64
  let parameters: PoolParameters
  var rules: ApplicationRules { parameters.rules }

  package internal(set) var accounts: [Account] = []
  private var byNonce: [UInt64: Int] = [:]
  private var byLink: [Link: Int] = [:]
  package private(set) var limits: ApplicationLimits
  /// Everything that is charged, and the part of it that is nobody's who has joined.
  package internal(set) var charged: Int64 = 0
  private(set) var fixed: Int64 = 0
  private var declared: Int64 = 0
  private var floors: Int64 = 0
  private var expected = 0
  private(set) var waiting = 0
  /// What rests until a period is over, oldest first.
  private var resting = DeadlineQueue<Int64>()
  package private(set) var rested: Int64 = 0
  /// Recalls that are open, by nonce and number; those that were answered stay until their moment.
  var recalls = DeadlineQueue<(nonce: UInt64, sequence: UInt64)>()
  private var leftAlone = DeadlineQueue<UInt64>()
  /// Somebody was there before this broker, and what they used nobody knows.
  private var hasHistory: Bool
  /// Where the next division of what cannot be divided begins.
  var turn = 0
  private var rejoinDeadline: Nanoseconds?
  /// Who has asked for another limit, and until when an answer is due.
  private var setter: (link: Link, message: ApplicationMessage, deadline: Nanoseconds)?
  /// The limits that were last written down.
  private var told: ApplicationLimits
  var shares = FairShares()
  var sharesAreStale = true

  /// Opens the books.
  ///
  /// - Parameters:
  ///   - resource: Of what.
  ///   - epoch: Greater than that of any broker before.
  ///   - limits: As the broker before has left them.
  ///   - registrations: Everybody who may hold something, all of them.
  ///   - parameters: The constants.
  ///   - now: The time.
  init(
    _ resource: SharedResource, epoch: UInt64, limits: ApplicationLimits,
    registrations: [Registration], parameters: PoolParameters, now: Nanoseconds
  ) {
    self.resource = resource
    self.epoch = epoch
    self.limits = limits
    told = limits
    self.parameters = parameters
    hasHistory = !registrations.isEmpty
    for registration in registrations {
      add(
        Account(
          nonce: registration.nonce, standing: .expected, declared: registration.declared,
          floor: registration.floor, ceiling: registration.ceiling,
          priority: registration.priority))
    }
    if expected > 0 { rejoinDeadline = now + parameters.rejoinTime }
  }

  /// The limit that is wanted: what was said, or what the members declare.
  package var limit: Int64 { limits.explicit ?? declared }

  /// What nobody holds, and nobody has used in this period.
  package var free: Int64 { max(0, limit - charged - rested) }

  /// Whether every registered member is known: before that nothing goes up.
  package var isRecovered: Bool { expected == 0 || !rules.contains(.awaitsRegistered) }

  /// The account of a member.
  package func account(_ nonce: UInt64) -> Account? { byNonce[nonce].map { accounts[$0] } }

  var figures: ApplicationMessage.Figures {
    ApplicationMessage.Figures(
      limit: min(limit, ApplicationMessage.most), inForce: limits.inForce, charged: charged,
      members: Int64(accounts.count), waiting: Int64(waiting))
  }

  // MARK: events

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
    if known == nil, claim.held == 0 {
      let least = floors
      let limit = claim.application ?? limits.explicit ?? self.limit + claim.declared
      if least + claim.floor > limit {
        let left = max(0, limit - least)
        return answer(message, .refuse(.minima, figure: left), link, &actions)
      }
      // The newest create wins; who comes back does not.
      if let application = claim.application { limits.explicit = application }
    }
    let index =
      known
      ?? add(
        Account(
          nonce: message.nonce, standing: .lost, declared: claim.declared, floor: claim.floor,
          ceiling: claim.ceiling, priority: claim.priority))
    // What it held before it was lost and does not hold now may have been used a moment ago.
    let before = accounts[index].charged
    if before > claim.held { rest(before - claim.held, now) }
    if accounts[index].standing == .joined { byLink[accounts[index].link] = nil }
    change(index) { account in
      account.standing = .joined
      account.link = link
      account.charged = claim.held
      account.declared = claim.declared
      account.floor = claim.floor
      account.ceiling = claim.ceiling
      account.priority = claim.priority
      account.wanted = min(max(claim.wanted, claim.floor), claim.ceiling)
      (account.sequence, account.lastGrant, account.recall) = (0, 0, nil)
      account.heard = message.sequence
      account.leftAloneUntil = .min
      (account.isAsking, account.isFenced) = (false, false)
    }
    byLink[link] = index
    actions.append(.watch(message.nonce))
    tell(index, .welcome(limit: claim.held), &actions)
    settle(now, &actions)
  }

  private mutating func hear(
    _ holding: ApplicationMessage.Holding, _ message: ApplicationMessage, _ index: Int,
    asks: Bool, _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    let before = accounts[index].charged
    let (rules, backOff) = (rules, parameters.backOff)
    change(index) { account in
      account.heard = message.sequence
      account.wanted = min(max(holding.wanted, account.floor), account.ceiling)
      account.isAsking = asks
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
    let missing = accounts[index].wanted - accounts[index].charged
    guard waiting == 1, accounts[index].isWaiting, accounts[index].recall == nil, isRecovered,
      missing <= free
    else { return }
    change(index) { $0.charged += missing }
    tell(index, .grant(limit: accounts[index].charged), &actions)
  }

  /// Takes note that a connection has closed, which frees nothing.
  mutating func close(_ link: Link, at now: Nanoseconds, _ actions: inout [BrokerAction]) {
    if setter?.link == link { setter = nil }
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
    next = min(next, recalls.first?.moment ?? .max)
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
    settle(now, &actions)
    if let setter, setter.deadline <= now {
      self.setter = nil
      answer(setter.message, .figures(figures), setter.link, &actions)
    }
  }

  /// What follows from what has just changed.
  private mutating func settle(_ now: Nanoseconds, _ actions: inout [BrokerAction]) {
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
    if expected == 0 {
      rejoinDeadline = nil
      if hasHistory { rest(limit - charged - rested, now) }
      hasHistory = false
    }
    enforce(&actions)
    if waiting > 0 || charged > limit { plan(now, &actions) }
    if let setter, limits.inForce <= limit {
      self.setter = nil
      answer(setter.message, .figures(figures), setter.link, &actions)
    }
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
    let next = ApplicationLimits(
      explicit: limits.explicit,
      inForce: isKept || !rules.contains(.recallsBeforeForce) ? limit : limits.inForce)
    if next == told { return }
    limits = next
    told = next
    actions.append(.limits(resource, next))
  }

  private mutating func rest(_ amount: Int64, _ now: Nanoseconds) {
    guard amount > 0, parameters.rest > 0, rules.contains(.restsSpent) else { return }
    rested += amount
    resting.append(amount, at: now + parameters.rest)
  }

  // MARK: the books

  /// Changes an account, and every sum that it is in.
  mutating func change(_ index: Int, _ body: (inout Account) -> Void) {
    book(accounts[index], -1)
    let before = accounts[index]
    body(&accounts[index])
    let after = accounts[index]
    book(after, 1)
    if before.standing != after.standing || before.floor != after.floor
      || before.ceiling != after.ceiling
    {
      sharesAreStale = true
    }
  }

  private mutating func book(_ account: Account, _ sign: Int64) {
    charged += sign * account.charged
    declared += sign * account.declared
    floors += sign * account.floor
    if account.standing != .joined { fixed += sign * account.charged }
    if account.standing == .expected { expected += Int(sign) }
    if account.isWaiting { waiting += Int(sign) }
  }

  @discardableResult
  private mutating func add(_ account: Account) -> Int {
    byNonce[account.nonce] = accounts.count
    accounts.append(account)
    book(account, 1)
    sharesAreStale = true
    return accounts.count - 1
  }

  private mutating func remove(_ index: Int) {
    let account = accounts[index]
    book(account, -1)
    byNonce[account.nonce] = nil
    if byLink[account.link] == index { byLink[account.link] = nil }
    let last = accounts.removeLast()
    if last.nonce != account.nonce {
      accounts[index] = last
      byNonce[last.nonce] = index
      if byLink[last.link] != nil { byLink[last.link] = index }
    }
    sharesAreStale = true
  }

  // MARK: messages

  /// Says something to a member; what may be written on it is charged already.
  mutating func tell(
    _ index: Int, _ body: ApplicationMessage.Body, _ actions: inout [BrokerAction]
  ) {
    accounts[index].sequence += 1
    let account = accounts[index]
    switch body {
    case .welcome, .grant:
      accounts[index].lastGrant = account.sequence
      accounts[index].isAsking = false
    default: break
    }
    actions.append(
      .send(
        ApplicationMessage(
          resource: resource, epoch: epoch, nonce: account.nonce, sequence: account.sequence,
          acknowledged: account.heard, body: body), to: account.link))
  }

  private func answer(
    _ message: ApplicationMessage, _ body: ApplicationMessage.Body, _ link: Link,
    _ actions: inout [BrokerAction]
  ) {
    actions.append(
      .send(
        ApplicationMessage(
          resource: resource, epoch: epoch, nonce: message.nonce,
          acknowledged: message.sequence, body: body), to: link))
  }
}
