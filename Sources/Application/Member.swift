// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a member wants done, in this order; what follows a write follows its outcome.
package enum MemberAction: Equatable, Sendable {
  /// Send this to the broker.
  case send(ApplicationMessage)
  /// Make this the kernel's limit, and say ``Member/Event/wrote`` when that was tried.
  case write(Int64)
  /// Kill the broker, which has been silent for too long: that closes the connection.
  case fence
  /// There is no place in this application; the figure says what is left.
  case refused(ApplicationMessage.Refusal, figure: Int64)
}

/// A member of an application, for one resource: a pure state machine.
///
/// The kernel's limit is never above what was granted: it is raised when the grant is there, and
/// what is given back has been lowered before. Without a broker it may go down, never up.
package struct Member: Sendable {
  /// What has happened.
  package enum Event: Sendable {
    /// There is a connection to a broker.
    case connected(Link)
    /// A frame has come.
    case message(ApplicationMessage, on: Link)
    /// The connection has closed.
    case closed(Link)
    /// This is what the container could use from now on; and of memory what it has in use.
    case want(Int64, spent: Int64? = nil)
    /// The kernel's limit is this, after a write, refused or not; and as much was used in the
    /// period that is on, as a limit.
    case wrote(Int64, spent: Int64)
    /// The container has ended.
    case ended
    /// ``Member/deadline`` has come.
    case tick
  }

  /// A request that was not answered for as long is answered by the fence.
  package static let patience: Nanoseconds = 200_000_000
  /// A broker that asks the node's agent for a larger share answers within as long.
  package static let patienceForShare = PoolParameters().shareWait + patience

  /// The container's instance.
  package let nonce: UInt64
  /// Which resource is negotiated.
  package let resource: SharedResource
  private let rules: ApplicationRules
  private var claim: ApplicationMessage.Claim

  /// The kernel's limit, as last written.
  package private(set) var held: Int64
  /// The most that may be written.
  package private(set) var allowance: Int64
  /// What the container could use.
  package private(set) var wanted: Int64
  private var writing: Int64?
  private var spent: Int64 = 0

  private enum Phase: Sendable { case alone, joining, joined, over }
  private var phase: Phase = .alone
  private var link: Link?
  private var epoch: UInt64 = 0
  private var sequence: UInt64 = 0
  private var acknowledged: UInt64 = 0
  private var open: (sequence: UInt64, deadline: Nanoseconds)?
  /// What the broker was told last.
  private var told: (held: Int64, wanted: Int64)?

  /// Makes a member that is not connected.
  ///
  /// - Parameters:
  ///   - nonce: Its instance's.
  ///   - resource: Of what.
  ///   - claim: What it brings along: `held` is the kernel's limit, 0 for a newcomer.
  ///   - rules: For tests.
  package init(
    nonce: UInt64, resource: SharedResource, claim: ApplicationMessage.Claim,
    rules: ApplicationRules = .all
  ) {
    self.nonce = nonce
    self.resource = resource
    self.claim = claim
    self.rules = rules
    held = claim.held
    allowance = claim.held
    // Whoever declares less than the least that it may be given still begins with that.
    wanted = min(max(claim.wanted, claim.floor), claim.ceiling)
  }

  /// Its container declares something else from now on, which is said when it joins next.
  package mutating func redeclare(_ share: MemberRecord.Share) {
    claim.declared = share.declared
    claim.floor = share.floor
    claim.ceiling = share.ceiling
    claim.group = share.group
    wanted = min(max(wanted, share.floor), share.ceiling)
  }

  /// Whether the broker has taken it in.
  package var isJoined: Bool { phase == .joined }

  /// Whether the broker has asked the node's agent for what this member needs.
  package private(set) var hasAwaitedShare = false

  /// When ``Event/tick`` is due; nil while no request is open.
  package var deadline: Nanoseconds? { open?.deadline }

  /// Takes an event.
  package mutating func handle(
    _ event: Event, at now: Nanoseconds, _ actions: inout [MemberAction]
  ) {
    guard phase != .over else { return }
    switch event {
    case .connected(let link):
      self.link = link
      phase = .joining
      (sequence, acknowledged, told) = (0, 0, nil)
      // All that may still be written without another word from a broker.
      allowance = rules.contains(.claimsWrites) ? max(held, writing ?? 0) : held
      claim.held = allowance
      claim.wanted = wanted
      request(.join(claim), now, &actions)
    case .message(let message, let link):
      receive(message, link, now, &actions)
    case .closed(let link):
      guard link == self.link else { return }
      self.link = nil
      phase = .alone
      open = nil
      allowance = rules.contains(.claimsWrites) ? max(held, writing ?? 0) : held
    case .want(let amount, let spent):
      if let spent { self.spent = spent }
      wanted = min(max(amount, claim.floor), claim.ceiling)
      settle(now, &actions)
    case .wrote(let limit, let spent):
      // The kernel would not have it. What it has is what is wanted, until something else is.
      if let writing, writing != limit {
        wanted = limit
        allowance = limit
      }
      writing = nil
      held = limit
      self.spent = spent
      if phase == .alone { allowance = held }
      settle(now, &actions)
    case .ended:
      if phase == .joined { send(.leave, &actions) }
      phase = .over
      open = nil
    case .tick:
      guard let open, open.deadline <= now else { return }
      self.open = nil
      actions.append(.fence)
    }
  }

  private mutating func receive(
    _ message: ApplicationMessage, _ link: Link, _ now: Nanoseconds,
    _ actions: inout [MemberAction]
  ) {
    guard message.resource == resource, message.nonce == nonce else { return }
    if rules.contains(.checksEpochs) {
      // A grant counts on the open connection that it came by, and no broker follows a later one.
      guard link == self.link, phase == .joining || message.epoch == epoch, message.epoch >= epoch
      else { return }
    }
    acknowledged = max(acknowledged, message.sequence)
    if let request = open, message.acknowledged >= request.sequence { open = nil }
    switch message.body {
    case .welcome(let limit):
      epoch = message.epoch
      phase = .joined
      // From now on the application's limit is the broker's to know.
      claim.application = nil
      claim.isNoChange = false
      told = (claim.held, claim.wanted)
      allowance = limit
    case .grant(let limit):
      allowance = limit
      if let told { self.told = (limit, told.wanted) }
    case .recall(let limit):
      allowance = min(allowance, limit)
      told = nil
    case .refuse(let reason, let figure):
      actions.append(.refused(reason, figure: figure))
      return
    case .figures where phase == .joining:
      // The share of this node is too small, and its agent is asked for more.
      hasAwaitedShare = true
      open = (sequence, now + Self.patienceForShare)
      return
    default: return
    }
    settle(now, &actions)
  }

  /// Writes what shall be written; when there is nothing to write, says what there is to say.
  private mutating func settle(_ now: Nanoseconds, _ actions: inout [MemberAction]) {
    if writing != nil { return }
    let target = min(wanted, allowance)
    // A container does not start with less than it needs at the least.
    if held == 0, target < claim.floor { return }
    if target != held {
      if target < held, !rules.contains(.lowersFirst) { say(held: target, now, &actions) }
      writing = target
      actions.append(.write(target))
      return
    }
    if phase == .joined { say(held: held, now, &actions) }
  }

  private mutating func say(
    held: Int64, _ now: Nanoseconds, _ actions: inout [MemberAction]
  ) {
    if let told, told == (held, wanted) { return }
    // One request at a time: what is wanted meanwhile is said when it was answered.
    let asks = wanted > held
    if asks, open != nil, let told, told.held == held { return }
    allowance = held
    told = (held, wanted)
    let holding = ApplicationMessage.Holding(held: held, wanted: wanted, spent: spent)
    if asks, open == nil {
      request(.grow(holding), now, &actions)
    } else {
      send(.giveBack(holding), &actions)
    }
  }

  private mutating func request(
    _ body: ApplicationMessage.Body, _ now: Nanoseconds, _ actions: inout [MemberAction]
  ) {
    send(body, &actions)
    open = (sequence, now + Self.patience)
  }

  private mutating func send(
    _ body: ApplicationMessage.Body, _ actions: inout [MemberAction]
  ) {
    sequence += 1
    actions.append(
      .send(
        ApplicationMessage(
          resource: resource, epoch: epoch, nonce: nonce, sequence: sequence,
          acknowledged: acknowledged, body: body)))
  }
}
