// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// The ledger of one resource of an application, and who gets what of it: the broker's half of the
/// protocol.
///
/// The rule that everything else stands on: what is *charged* to a member is never less than what
/// its kernel limit is, or may still become by anything that was sent to it. It goes up before a
/// grant is sent, and down only when the member, having seen the last grant, says that it holds
/// less; or when its supervisor is dead and the kernel was asked. The sum of what is charged never
/// goes above the limit.
package struct Pool: Sendable {
  /// How far a member has come.
  package enum Standing: Sendable {
    /// Its file was found; what it holds is not known yet.
    case expected
    /// It has a connection, and the broker knows what it holds.
    case joined
    /// Its connection has closed; what is charged is the most that it may hold.
    case lost
    /// Its supervisor is dead, and what is charged is the kernel's.
    case orphan
  }

  /// A member in the books.
  package struct Account: Sendable {
    /// The container's instance.
    package let nonce: UInt64
    /// How far it has come.
    package var standing: Standing
    /// The connection to it; nil for a member without one.
    package var link: Link = 0
    /// The most that its kernel limit is or may become by what was granted.
    package var charged: Int64 = 0
    /// What it could use.
    package var wanted: Int64 = 0
    /// What its container declares.
    package var declared: Int64
    /// The least that it may be left with.
    package var floor: Int64
    /// The most that the member may be given.
    package var ceiling: Int64
    /// Its priority in a shortage.
    package var priority: Int32
    /// The group that bounds it together with others, as it was reported.
    var report: MemberGroup?
    /// The number of that one.
    package var group: UInt64? { report?.id }
    /// What that one leaves to it; no bound as long as there is enough for all that are in it.
    package var bound: Int64 = .max
    /// What it has in use, as it said last.
    ///
    /// That comes before what anybody keeps ahead. 0 of a resource that is used by the period.
    package var need: Int64 = 0
    /// Our last frame to it, the last one that was a grant, and its last one to us.
    var sequence: UInt64 = 0
    var lastGrant: UInt64 = 0
    var heard: UInt64 = 0
    /// It waits for an answer.
    var isAsking = false
    /// The recall that it has not answered yet.
    package var recall: (limit: Int64, sequence: UInt64, deadline: Nanoseconds)?
    /// Until when nothing is recalled from it.
    package var leftAloneUntil: Nanoseconds = .min
    var isFenced = false
    /// It was charged more, and is to be told.
    var isGranted = false
    /// It had been granted nothing when its file was found.
    var isNewcomer = false

    /// What it could use, as far as its group has it.
    package var reach: Int64 { min(wanted, bound) }

    /// What is its own in any case, as long as there is as much for everybody.
    var own: Int64 { min(need, reach, ceiling) }

    /// What it may and could use beyond what is its own in any case.
    func share(beyond own: Int64) -> FairShares.Member {
      FairShares.Member(
        floor: max(0, floor - own), ceiling: max(0, min(ceiling, bound) - own),
        wanted: max(0, reach - own), priority: priority)
    }
    var isWaiting: Bool { standing == .joined && reach > charged }
  }

  /// Which resource is shared.
  package let resource: SharedResource
  /// Which broker of the application this is.
  package let epoch: UInt64
  let parameters: PoolParameters
  /// What the machine, or its operator, has for an application.
  let most: Int64
  var rules: ApplicationRules { parameters.rules }

  /// The members, by instance.
  package internal(set) var accounts: [Account] = []
  var byNonce: [UInt64: Int] = [:]
  var byLink: [Link: Int] = [:]
  /// The limits of the application.
  package internal(set) var limits: ApplicationLimits
  /// Everything that is charged, and the part of it that is nobody's who has joined.
  package internal(set) var charged: Int64 = 0
  var fixed: Int64 = 0
  var floors: Int64 = 0
  /// The groups that bound several members.
  package internal(set) var groups = MemberGroups()
  var expected = 0
  var waiting = 0
  /// What rests until a period is over, oldest first.
  var resting = DeadlineQueue<Int64>()
  /// The members that are at rest.
  package internal(set) var rested: Int64 = 0
  /// Recalls that are open, by nonce and number; those that were answered stay until their moment.
  var recalls = DeadlineQueue<(nonce: UInt64, sequence: UInt64)>()
  var leftAlone = DeadlineQueue<UInt64>()
  /// Somebody was there before this broker, and what they used nobody knows.
  var hasHistory: Bool
  /// Where the next division of what cannot be divided begins.
  var turn = 0
  var rejoinDeadline: Nanoseconds?
  /// Who has asked for another limit, and until when an answer is due.
  var setter: (link: Link, message: ApplicationMessage, deadline: Nanoseconds)?
  /// The limits that were last written down.
  var told: ApplicationLimits
  var shares = FairShares()
  var sharesAreStale = true
  /// Whether there is as much as all have in use.
  var needsFit = false
  /// Whether the limit is this node's share of an application that spans nodes.
  package let isCluster: Bool
  /// CLOCK_BOOTTIME less CLOCK_MONOTONIC: shares have their deadlines on the former.
  var suspended: Nanoseconds
  /// Whether the share's deadline is so near that its minimum holds.
  var isShareOver = false
  /// The agent of this node, and the last share that it has sent.
  var agent: (link: Link, message: ApplicationMessage)?
  /// What that one was told last.
  var toldDemand: ApplicationMessage.Demand?
  /// Newcomers that wait for a larger share, in the order in which they came.
  var newcomers: [WaitingNewcomer] = []
  /// What members could use.
  package internal(set) var wanted: Int64 = 0
  /// What they have in use.
  package internal(set) var used: Int64 = 0

  /// Opens the books.
  ///
  /// - Parameters:
  ///   - resource: Of what.
  ///   - epoch: Greater than that of any broker before.
  ///   - limits: As the broker before has left them.
  ///   - registrations: Everybody who may hold something, all of them.
  ///   - most: What nobody may say more than.
  ///   - isCluster: Whether the limit is this node's share of an application that spans nodes.
  ///   - suspended: CLOCK_BOOTTIME less CLOCK_MONOTONIC.
  ///   - parameters: The constants.
  ///   - now: The time.
  init(
    _ resource: SharedResource, epoch: UInt64, limits: ApplicationLimits,
    registrations: [Registration], most: Int64 = .max, isCluster: Bool = false,
    suspended: Nanoseconds = 0, parameters: PoolParameters, now: Nanoseconds
  ) {
    self.resource = resource
    self.epoch = epoch
    self.limits = limits
    self.most = most
    self.isCluster = isCluster
    self.suspended = suspended
    told = limits
    self.parameters = parameters
    hasHistory = !registrations.isEmpty
    if isCluster, limits.share == nil, limits.awaitsShareUntil == nil {
      // Memory is not there yet when the runtime begins; so little CPU is only slow.
      self.limits.awaitsShareUntil =
        now + suspended + (resource == .cpu ? parameters.shareGrace : 0)
    }
    isShareOver = isShareDue(now)
    for registration in registrations {
      groups.note(registration.group)
      add(
        Account(
          nonce: registration.nonce, standing: .expected, declared: registration.declared,
          floor: registration.floor, ceiling: registration.ceiling,
          priority: registration.priority, report: registration.group,
          isNewcomer: registration.isNewcomer))
    }
    if expected > 0 { rejoinDeadline = now + parameters.rejoinTime }
  }

  /// The limit that is wanted: what was said, or what the members declare, if there is as much.
  ///
  /// Of an application that spans nodes it is what this node has.
  package var limit: Int64 {
    min(isCluster ? share : limits.explicit ?? groups.declared, most)
  }

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

  // MARK: the books

  /// Changes an account, and every sum that it is in.
  mutating func change(_ index: Int, _ body: (inout Account) -> Void) {
    book(accounts[index], -1)
    let before = accounts[index]
    body(&accounts[index])
    let after = accounts[index]
    book(after, 1)
    if before.standing != after.standing || before.floor != after.floor
      || before.ceiling != after.ceiling || before.need != after.need
      || before.bound != after.bound
    {
      sharesAreStale = true
    }
  }

  mutating func book(_ account: Account, _ sign: Int64) {
    charged += sign * account.charged
    groups.count(
      declared: account.declared,
      demand: account.standing == .joined ? account.wanted : account.charged, in: account.group,
      sign)
    floors += sign * account.floor
    wanted += sign * (account.standing == .joined ? account.reach : account.charged)
    used += sign * account.need
    if account.standing != .joined { fixed += sign * account.charged }
    if account.standing == .expected { expected += Int(sign) }
    if account.isWaiting { waiting += Int(sign) }
  }

  @discardableResult
  mutating func add(_ account: Account) -> Int {
    byNonce[account.nonce] = accounts.count
    accounts.append(account)
    book(account, 1)
    sharesAreStale = true
    return accounts.count - 1
  }

  mutating func remove(_ index: Int) {
    let account = accounts[index]
    book(account, -1)
    groups.forget(account.group)
    byNonce[account.nonce] = nil
    if byLink[account.link] == index { byLink[account.link] = nil }
    let last = accounts.removeLast()
    if last.nonce != account.nonce {
      accounts[index] = last
      byNonce[last.nonce] = index
      if byLink[last.link] != nil { byLink[last.link] = index }
    }
    if let id = account.group, groups.byID[id] != nil {
      // What it reported may be older than what those who stay have reported.
      groups.note(accounts.filter { $0.group == id }.max { $0.link < $1.link }?.report)
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

  func answer(
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
