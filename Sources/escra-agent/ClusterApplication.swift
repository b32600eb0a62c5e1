// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Glibc
internal import Nodes
internal import OCISpec
internal import Quantities
internal import State

/// One application of this node: a ``NodeShare`` for each resource, between its broker and its
/// ledgers.
final class ClusterApplication {
  private let loop: EventLoop
  private let ledger: any Ledger
  private var room: String
  private let node: String
  private let name: String
  private let namespace: String
  private let onLeft: () -> Void
  private var broker: BrokerConnection?
  private var shares: [SharedResource: ResourceShare] = [:]
  private var statusTimer: EventLoop.Deadline?
  private(set) var isEnding = false
  private var isOver = false

  /// Status is written this much after a change, so that a burst of them is written once.
  private static let statusDelay: Nanoseconds = 100_000_000

  init(
    loop: EventLoop, ledger: any Ledger, node: String, cluster: ClusterConfig, room: String,
    namespace: String, name: String, onLeft: @escaping () -> Void
  ) {
    self.loop = loop
    self.ledger = ledger
    self.node = node
    self.room = room
    self.name = name
    self.namespace = namespace
    self.onLeft = onLeft
    let before = ApplicationDirectory.ifThere(room)?.clusterStatus
    for resource in SharedResource.allCases {
      var parameters = NodeParameters()
      parameters.validity = cluster.validity * 1_000_000_000
      parameters.takesFromSilent = resource == .cpu
      parameters.keepsFloors = cluster.onLost == .floor
      shares[resource] = ResourceShare(
        NodeShare(
          name: node, resource: resource, newID: Self.randomID(),
          seen: before?[resource].newest, parameters: parameters),
        key: LedgerKey(
          namespace: namespace, application: name, resource: resource.ledgerName))
    }
    broker = makeBroker()
  }

  private func makeBroker() -> BrokerConnection {
    BrokerConnection(
      loop: loop, room: room,
      onOpen: { [weak self] in self?.attend() },
      onMessage: { [weak self] in self?.take($0) },
      onClose: { [weak self] in self?.toAll(.brokerLost) })
  }

  /// Goes on in another directory, before it has left the ledgers.
  func resume(in room: String) {
    self.room = room
    isEnding = false
    broker = makeBroker()
    connect()
  }

  private static func randomID() -> String {
    var random: (UInt64, UInt64) = (0, 0)
    _ = withUnsafeMutableBytes(of: &random) { getentropy($0.baseAddress, $0.count) }
    return String(random.0, radix: 36) + String(random.1, radix: 36)
  }

  /// Connects to the broker, unless it is connected.
  func connect() { broker?.connect() }

  /// The last member has ended: the node leaves the ledgers.
  func end() {
    isEnding = true
    broker?.close()
    toAll(.ended)
  }

  /// Stops without a word to the engine: the broker keeps the deadline.
  func close() {
    broker?.close()
    for share in shares.values {
      if let deadline = share.timer { loop.cancel(deadline) }
      if let deadline = share.hintTimer { loop.cancel(deadline) }
      ledger.forget(share.key)
    }
    if let statusTimer { loop.cancel(statusTimer) }
  }

  /// The watch has begun anew.
  func ledgerMayHaveChanged() { toAll(.changed(nil)) }

  /// The watch says what a ledger is now; nil: it was removed.
  ///
  /// A node that the change does not concern so sends nothing.
  func ledgerHasChanged(_ key: LedgerKey, _ now: LedgerReading?) {
    for (resource, share) in shares where key == share.key {
      share.hint = .some(now)
      if share.hintTimer == nil { deliverHint(share, resource) }
    }
  }

  private func deliverHint(_ share: ResourceShare, _ resource: SharedResource) {
    guard let hint = share.hint else { return }
    let moment = share.nextHint(loop.now)
    guard moment <= loop.now else {
      share.hintTimer = loop.at(moment) { [weak self, weak share] in
        guard let self, let share else { return }
        share.hintTimer = nil
        self.deliverHint(share, resource)
      }
      return
    }
    share.hint = nil
    handle(.changed(hint.flatMap { snapshot($0, share) }), resource)
  }

  /// The broker says what its members need; an order of before is sent anew.
  private func attend() {
    for resource in SharedResource.allCases {
      broker?.send(ApplicationMessage(resource: resource, epoch: 0, nonce: 0, body: .attend))
    }
    toAll(.brokerConnected)
  }

  private func toAll(_ event: NodeEvent) {
    for resource in SharedResource.allCases { handle(event, resource) }
  }

  private func take(_ message: ApplicationMessage) {
    guard case .demand(let demand) = message.body, let share = shares[message.resource] else {
      return
    }
    let report = BrokerReport(
      answers: message.acknowledged, inForce: demand.inForce, wanted: demand.wanted,
      used: demand.used, declared: demand.declared, floors: demand.floors,
      explicit: demand.explicit)
    share.report = report
    handle(.report(report), message.resource)
  }

  // MARK: events and effects

  private func handle(_ event: NodeEvent, _ resource: SharedResource) {
    guard let share = shares[resource] else { return }
    var effects: [NodeEffect] = []
    let now = loop.now
    share.state.handle(event, at: now, &effects)
    for effect in effects { perform(effect, share, resource) }
    arm(share, resource)
    scheduleStatus()
    finishIfOver()
  }

  private func arm(_ share: ResourceShare, _ resource: SharedResource) {
    guard share.armed != share.state.deadline else { return }
    if let timer = share.timer { loop.cancel(timer) }
    share.armed = share.state.deadline
    share.timer = share.armed.map { moment in
      loop.at(moment) { [weak self, weak share] in
        share?.armed = nil
        share?.timer = nil
        self?.handle(.tick, resource)
      }
    }
  }

  private func perform(
    _ effect: NodeEffect, _ share: ResourceShare, _ resource: SharedResource
  ) {
    share.count(effect)
    switch effect {
    case .read(let number):
      ledger.read(share.key) { [weak self] reading in
        self?.answer(number, reading, share, resource)
      }
    case .swap(let number, let next, let expected):
      ledger.swap(share.key, to: next.map(\.json), expecting: expected) { [weak self] swap in
        guard let self else { return }
        self.handle(.swapped(number, self.outcome(swap, share)), resource)
      }
    case .share(let order):
      broker?.send(
        ApplicationMessage(
          resource: resource, epoch: 0, nonce: 0, sequence: order.number,
          body: .share(
            ApplicationMessage.Share(
              limit: order.limit, minimum: order.minimum, deadline: order.deadline))))
      share.order = order
    case .note(let note): take(note, share, resource)
    }
  }

  private func answer(
    _ number: UInt64, _ reading: LedgerReading, _ share: ResourceShare,
    _ resource: SharedResource
  ) {
    switch reading {
    case .found:
      let snapshot = snapshot(reading, share)
      handle(snapshot.map { .read(number, $0) } ?? .readFailed(number), resource)
    case .absent: handle(.read(number, nil), resource)
    case .failed(let complaint):
      share.complaint = complaint
      handle(.readFailed(number), resource)
    }
  }

  private func outcome(_ swap: LedgerSwap, _ share: ResourceShare) -> SwapOutcome {
    switch swap {
    case .succeeded(let version): return .succeeded(version: version)
    case .conflict(let current): return .conflict(current.flatMap { snapshot($0, share) })
    case .refused(let complaint):
      // Nothing has changed, and what is there is read anew.
      share.complaint = complaint
      return .conflict(nil)
    case .doubt(let complaint):
      share.complaint = complaint
      return .doubt
    }
  }

  private func snapshot(_ reading: LedgerReading, _ share: ResourceShare) -> LedgerSnapshot? {
    guard case .found(let bytes, let version) = reading else { return nil }
    do throws(LedgerError) {
      let snapshot = LedgerSnapshot(version: version, ledger: try ClusterLedger(json: bytes))
      share.complaint = nil
      return snapshot
    } catch {
      share.complaint = "the object \(share.key) is no ledger (\(error)); remove it"
      return nil
    }
  }

  private func take(_ note: NodeNote, _ share: ResourceShare, _ resource: SharedResource) {
    if let sentence = share.take(note, resource) {
      complain("\(namespace)/\(name): \(sentence)")
    }
  }

  /// An application that has ended is forgotten once the node is in none of its ledgers.
  private func finishIfOver() {
    guard isEnding, !isOver, shares.values.allSatisfy(\.state.isOver) else { return }
    isOver = true
    loop.at(0) { [onLeft] in onLeft() }
  }

  // MARK: the status

  private func scheduleStatus() {
    guard statusTimer == nil, !isEnding else { return }
    statusTimer = loop.at(loop.now + Self.statusDelay) { [weak self] in
      self?.statusTimer = nil
      self?.writeStatus()
    }
  }

  private func writeStatus() {
    guard !isEnding, let room = ApplicationDirectory.ifThere(room) else { return }
    var status = ClusterStatus()
    status.name = name
    status.namespace = namespace
    status.node = node
    status.engine = ledger.status
    for (resource, share) in shares { status[resource] = share.status }
    // Not saved, the next change of the status is.
    try? room.save(status)
  }
}

extension ClusterStatus.Resource {
  /// The newest ledger that the agent before had seen.
  fileprivate var newest: (id: String, generation: Int64)? {
    id.isEmpty ? nil : (id, generation)
  }
}
