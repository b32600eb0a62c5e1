// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application
@testable import Quantities

private let core: Int64 = 1_000_000_000
/// The members of one application and its broker, which hear of each other at once.
private struct Application {
  var broker: Broker
  var members: [UInt64: Member] = [:]
  var shares: [UInt64: MemberRecord.Share] = [:]
  /// What the kernel would keep.
  var kernel: [UInt64: Int64] = [:]
  var time: Nanoseconds = 0
  private var limits = ApplicationLimits()
  private var links: [UInt64: Link] = [:]
  private var nextLink: Link = 1
  private var epoch: UInt64 = 1
  private let most: Int64

  init(most: Int64 = .max) {
    self.most = most
    var actions: [BrokerAction] = []
    broker = Broker(
      epoch: epoch, cpu: (limits, []), memory: (limits, []), most: (most, .max), at: 0, &actions)
  }

  /// A member that wants what it declares.
  mutating func join(
    _ nonce: UInt64, declared: Int64, in group: MemberGroup? = nil, ceiling: Int64 = 8 * core
  ) {
    var share = MemberRecord.Share(declared: declared, floor: core / 20, ceiling: ceiling)
    if let group, !group.isRaised { share.ceiling = min(ceiling, group.limit) }
    share.group = group
    shares[nonce] = share
    members[nonce] = Member(
      nonce: nonce, resource: .cpu,
      claim: .init(
        held: 0, wanted: min(declared, share.ceiling), declared: declared, floor: share.floor,
        ceiling: share.ceiling, group: group))
    connect(nonce)
  }

  mutating func want(_ amount: Int64, _ nonce: UInt64) { tell(nonce, .want(amount)) }

  /// The pod of a member has another limit.
  mutating func resize(_ nonce: UInt64, to limit: Int64) {
    shares[nonce]?.group?.limit = limit
    shares[nonce]?.ceiling = limit
    if let share = shares[nonce] { members[nonce]?.redeclare(share) }
    disconnect(nonce)
    connect(nonce)
  }

  /// Another becomes the broker, and begins with what is in the files.
  mutating func changeBroker() {
    epoch += 1
    for nonce in members.keys.sorted() { disconnect(nonce) }
    let registrations = shares.sorted { $0.key < $1.key }.map { nonce, share in
      Registration(
        nonce: nonce, declared: share.declared, floor: share.floor, ceiling: share.ceiling,
        group: share.group)
    }
    var actions: [BrokerAction] = []
    broker = Broker(
      epoch: epoch, cpu: (limits, registrations), memory: (ApplicationLimits(), []),
      most: (most, .max), at: time, &actions)
    for nonce in members.keys.sorted() { connect(nonce) }
    pass(200 * ms)
  }

  /// What rests has rested.
  mutating func pass(_ span: Nanoseconds = 200 * ms) {
    time += span
    perform { $0.handle(.tick, at: $1, &$2) }
  }

  private mutating func connect(_ nonce: UInt64) {
    links[nonce] = nextLink
    nextLink += 1
    tell(nonce, .connected(nextLink - 1))
  }

  private mutating func disconnect(_ nonce: UInt64) {
    guard let link = links[nonce] else { return }
    tell(nonce, .closed(link))
    perform { $0.handle(.closed(link), at: $1, &$2) }
  }

  private mutating func tell(_ nonce: UInt64, _ event: Member.Event) {
    var actions: [MemberAction] = []
    members[nonce]?.handle(event, at: time, &actions)
    for action in actions {
      switch action {
      case .send(let message):
        let link = links[nonce] ?? 0
        perform { $0.handle(.message(message, on: link), at: $1, &$2) }
      case .write(let limit):
        kernel[nonce] = limit
        tell(nonce, .wrote(limit, spent: 0))
      case .fence, .refused: Issue.record("\(nonce): \(action)")
      }
    }
  }

  private mutating func perform(
    _ body: (inout Broker, Nanoseconds, inout [BrokerAction]) -> Void
  ) {
    var actions: [BrokerAction] = []
    body(&broker, time, &actions)
    for action in actions {
      if case .limits(_, let limits) = action { self.limits = limits }
      guard case .send(let message, let link) = action, links[message.nonce] == link else {
        continue
      }
      tell(message.nonce, .message(message, on: link))
    }
    let sum = kernel.values.reduce(0, +)
    #expect(sum <= limits.inForce, "\(sum) of \(limits.inForce)")
  }
}

@Suite struct MemberGroupTests {
  private let small = MemberGroup(id: 1, limit: core * 3 / 10)
  private let large = MemberGroup(id: 2, limit: core)

  @Test func `an application over two pods has what both declare, whoever is the broker`() {
    var shop = Application()
    shop.join(1, declared: core * 3 / 10, in: small)
    shop.join(2, declared: core * 6 / 10, in: large)
    shop.join(3, declared: core * 4 / 10, in: large)
    #expect(shop.broker.cpu.limit == core * 13 / 10)
    shop.changeBroker()
    #expect(shop.broker.cpu.limit == core * 13 / 10)
    #expect(shop.broker.cpu.limits.inForce == core * 13 / 10)
    for (nonce, declared) in [(1, 3), (2, 6), (3, 4)] as [(UInt64, Int64)] {
      #expect(shop.kernel[nonce] == core * declared / 10)
    }
  }

  @Test func `what a pod declares as a whole counts once`() {
    var shop = Application()
    shop.join(1, declared: small.limit, in: small)
    shop.join(2, declared: small.limit, in: small)
    #expect(shop.broker.cpu.limit == small.limit)
    shop.join(3, declared: core)
    #expect(shop.broker.cpu.limit == small.limit + core)
    shop.changeBroker()
    #expect(shop.broker.cpu.limit == small.limit + core)
  }

  @Test func `what an operator says is more than any pod has`() {
    var shop = Application(most: 16 * core)
    shop.join(1, declared: small.limit, in: small)
    shop.join(2, declared: core, in: large)
    var actions: [BrokerAction] = []
    let set = ApplicationMessage(resource: .cpu, epoch: 0, nonce: 0, body: .set(4 * core))
    shop.broker.handle(.message(set, on: 99), at: shop.time, &actions)
    #expect(shop.broker.cpu.limit == 4 * core)
    #expect(shop.broker.cpu.limits.inForce == 4 * core)
  }

  @Test func `what the members of a pod cannot use is for others`() {
    var shop = Application()
    shop.join(1, declared: small.limit, in: small)
    shop.join(2, declared: small.limit, in: small)
    shop.join(3, declared: core)
    for nonce in [1, 2] as [UInt64] { shop.want(8 * core, nonce) }
    shop.want(8 * core, 3)
    shop.pass()
    let inPod = (shop.kernel[1] ?? 0) + (shop.kernel[2] ?? 0)
    #expect(inPod <= small.limit && inPod > small.limit * 9 / 10)
    #expect(shop.kernel[3] == core)
    // One of them rests: the other one has what the pod has left.
    shop.want(core / 20, 1)
    shop.pass()
    shop.pass()
    #expect(shop.kernel[2] == small.limit - core / 20)
  }

  @Test func `a pod whose limit is raised bounds only what is declared`() {
    var shop = Application()
    let raised = MemberGroup(id: 3, limit: core / 2, isRaised: true)
    shop.join(1, declared: core / 2, in: raised)
    shop.join(2, declared: core / 2, in: raised)
    shop.join(3, declared: core)
    #expect(shop.broker.cpu.limit == core * 3 / 2)
    shop.want(core / 20, 3)
    shop.want(core / 20, 2)
    shop.want(8 * core, 1)
    shop.pass()
    #expect(shop.kernel[1] == core * 3 / 2 - core / 10)
  }

  @Test(arguments: [core / 10, core * 2])
  func `the limit of a pod that another process changes is the members' part from then on`(
    limit: Int64
  ) {
    var shop = Application()
    shop.join(1, declared: core / 2, in: large)
    shop.join(2, declared: core / 2, in: large)
    shop.join(3, declared: core)
    shop.resize(1, to: limit)
    shop.resize(2, to: limit)
    #expect(shop.broker.cpu.limit == core + min(core, limit))
    shop.want(core / 20, 3)
    shop.want(8 * core, 1)
    shop.pass()
    shop.pass()
    #expect((shop.kernel[1] ?? 0) + (shop.kernel[2] ?? 0) <= limit)
    shop.changeBroker()
    #expect(shop.broker.cpu.limit == core + min(core, limit))
  }

  @Test func `a newcomer that must not change the limit has to know what the pods declare`() {
    var actions: [BrokerAction] = []
    var broker = Broker(
      epoch: 1, cpu: (ApplicationLimits(), []), memory: (ApplicationLimits(), []), at: 0, &actions)
    func join(_ nonce: UInt64, application: Int64?) -> ApplicationMessage.Body? {
      let claim = ApplicationMessage.Claim(
        held: 0, wanted: core / 10, declared: small.limit, floor: core / 20, ceiling: small.limit,
        application: application, isNoChange: true, group: small)
      actions = []
      broker.handle(
        .message(
          ApplicationMessage(
            resource: .cpu, epoch: 0, nonce: nonce, sequence: 1, body: .join(claim)), on: nonce),
        at: 0, &actions)
      if case .send(let message, _)? = actions.first(where: { action in
        if case .send = action { true } else { false }
      }) {
        return message.body
      }
      return nil
    }
    _ = join(1, application: nil)
    _ = join(2, application: nil)
    #expect(join(3, application: 2 * small.limit) == .refuse(.conflict, figure: small.limit))
    #expect(join(4, application: small.limit) == .welcome(limit: 0))
  }
}
