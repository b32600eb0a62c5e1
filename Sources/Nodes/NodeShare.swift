// SPDX-License-Identifier: Apache-2.0
package import Application
package import Quantities

/// The share that a node has of an application's limit: a pure state machine.
///
/// All times are CLOCK_BOOTTIME of this node, in nanoseconds; no clock of another node is known.
/// One request to the engine is open at a time, and its time is that of the event which it is an
/// effect of: it is sent after that. The rules are those of docs/nodes.md.
package struct NodeShare: Sendable {
  /// What the node is called in the ledger.
  package let name: String
  /// The resource.
  package let resource: SharedResource
  let parameters: NodeParameters
  var rules: NodeRules { parameters.rules }

  /// A swap that may still happen.
  enum Doubt: Equatable, Sendable {
    case none
    /// One of an agent before this one, of a version that is not known yet.
    case unknown
    /// It happens only while the ledger has this version; nil: while there is none.
    case version(String?)
  }

  /// A request without an answer yet.
  struct Request: Sendable {
    var number: UInt64
    var sent: Nanoseconds
    /// What a swap sends, and the version that it expects; nil of a read.
    var swap: (ledger: ClusterLedger?, expected: String?)?
  }

  /// A need that has fallen: since when, and the most that was needed since then.
  struct Fall: Sendable {
    var since: Nanoseconds
    var most: Int64
  }

  /// A limit that the local broker was told to come down to, before the ledger says so.
  struct Lowering: Sendable {
    var limit: Int64
    var minimum: Int64
    var since: Nanoseconds
  }

  private let newID: String
  private var created = 0
  var number: UInt64 = 0
  var request: Request?
  /// The newest ledger that was seen: the agent keeps it where the next one finds it.
  package var seen: (id: String, generation: Int64)?
  /// The ledger, as it was last seen; with ``isAbsent`` there is none.
  package var known: LedgerSnapshot?
  var isAbsent = false
  var doubt = Doubt.unknown
  /// Until when the share above the minimum may be used.
  package var validUntil: Nanoseconds?
  private(set) var report: BrokerReport?
  /// What the local broker was told last.
  package private(set) var order: ShareOrder?
  private var isConnected = false
  private var isTold = false
  /// An explicit limit that this node has to bring into the ledger.
  var proposal: Int64?
  var hasEnded = false
  /// Whether the node has left the ledger, or was never in it: there is nothing left to do.
  package private(set) var isOver = false

  // What the planning keeps: see NodeSharePlanning.swift.
  var lowering: Lowering?
  /// When a lowering was given up: what is in use cannot be lowered.
  var keptUntil: Nanoseconds = .min
  var excessSince: Nanoseconds?
  var waitingSince: Nanoseconds?
  /// What the members need, without what changes all the time; and that they need less.
  var steadyNeed: Int64 = 0
  var fall: Fall?
  /// Since when the ledger says that the node wants more than it does.
  var overAskedSince: Nanoseconds?
  /// When the ledger was last told of a greater want, and when it is told of the next one.
  var lastAsk: Nanoseconds?
  var nextAsk: Nanoseconds?
  /// Since when the node has lacked something, for the note.
  var lackingSince: Nanoseconds?
  var marks: [String: (generation: Int64, since: Nanoseconds)] = [:]

  /// The newest ledger that was seen when the last request was sent.
  var seenAtRequest: (id: String, generation: Int64)?
  var mustRead = false
  var lastRead: Nanoseconds?
  var retry: Nanoseconds?
  var conflicts: UInt64 = 0

  /// When ``NodeEvent/tick`` is due; nil at rest.
  package private(set) var deadline: Nanoseconds?

  /// Makes the share of a node that knows nothing of the ledger yet.
  ///
  /// - Parameters:
  ///   - name: The node's, unique in the cluster.
  ///   - resource: Of what.
  ///   - newID: At random, for the ledger if there is none.
  ///   - seen: The newest ledger that an agent of this node has seen before.
  ///   - parameters: The constants.
  package init(
    name: String, resource: SharedResource, newID: String,
    seen: (id: String, generation: Int64)? = nil, parameters: NodeParameters = NodeParameters()
  ) {
    self.name = name
    self.resource = resource
    self.newID = newID
    self.seen = seen
    self.parameters = parameters
  }

  /// What the ledger says of this node, as it was last seen.
  package var entry: ClusterLedger.Node? { known?.ledger.nodes[name] }

  /// Takes an event.
  package mutating func handle(
    _ event: NodeEvent, at now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    guard !isOver else { return }
    switch event {
    case .read(let number, let snapshot): read(number, snapshot, now, &effects)
    case .readFailed(let number):
      guard request?.number == number else { return }
      request = nil
      mustRead = true
      retry = now + parameters.backOff
    case .swapped(let number, let outcome): swapped(number, outcome, now, &effects)
    case .changed(let snapshot):
      if let snapshot, snapshot.ledger.id == seen?.id, known != nil {
        // The answer to a swap of this node says more than the watch does.
        if let swap = request?.swap, swap.ledger == snapshot.ledger { return }
        observe(snapshot, isRead: false, now, &effects)
      } else {
        mustRead = true
      }
    case .brokerConnected:
      (isConnected, isTold, hasEnded) = (true, false, false)
      report?.answers = 0
    case .report(let new):
      if let old = report, old.explicit != new.explicit { proposal = new.explicit }
      report = new
      hasEnded = false
    case .brokerLost:
      isConnected = false
      report?.answers = 0
    case .ended:
      (isConnected, hasEnded) = (false, true)
      // Nothing is in force: members that come later begin from there.
      report = nil
      lowering = Lowering(limit: 0, minimum: 0, since: now)
      if let order {
        self.order = ShareOrder(number: order.number, limit: 0, minimum: 0, deadline: nil)
      }
    case .tick: break
    }
    if !isOver { work(now, &effects) }
  }

  // MARK: work

  /// Whether the share above the minimum may be used, and more be told to the broker.
  func isUsable(_ now: Nanoseconds) -> Bool {
    guard doubt == .none, let entry else { return false }
    if !parameters.takesFromSilent { return true }
    guard let validUntil else { return false }
    if !rules.contains(.expires) { return true }
    return (entry.mark == nil || !rules.contains(.clearsBeforeUse))
      && now < validUntil - parameters.lead
  }

  private mutating func work(_ now: Nanoseconds, _ effects: inout [NodeEffect]) {
    if let moment = retry, moment <= now { retry = nil }
    expire(now, &effects)
    tell(now, &effects)
    if request == nil, retry == nil, report != nil || hasEnded {
      if (known == nil && !isAbsent) || mustRead || readDue(now).map({ $0 <= now }) ?? false {
        sendRead(now, &effects)
      } else if let next = plan(now) {
        sendSwap(next.ledger, now, &effects)
      }
      if isOver { return }
      // What is to be lowered first is told at once.
      tell(now, &effects)
    }
    deadline = nextDeadline(now)
  }

  private mutating func sendRead(_ now: Nanoseconds, _ effects: inout [NodeEffect]) {
    number += 1
    seenAtRequest = seen
    request = Request(number: number, sent: now)
    lastRead = now
    // What is said to have changed from now on may not be in the answer.
    mustRead = false
    effects.append(.read(number))
  }

  private mutating func sendSwap(
    _ ledger: ClusterLedger?, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    number += 1
    seenAtRequest = seen
    request = Request(number: number, sent: now, swap: (ledger, known?.version))
    mustRead = false
    if !rules.contains(.takesFirst), let held = ledger?.nodes[name]?.held, let entry,
      held > entry.held, isUsable(now)
    {
      send(limit: held, minimum: entry.minimum, until: validUntil, &effects)
    }
    effects.append(.swap(number, ledger, expected: known?.version))
  }

  /// The node is in no ledger, and its last member has ended.
  mutating func leave() { (isOver, deadline) = (true, nil) }

  /// An id for a ledger that is about to be made.
  mutating func makeID() -> String {
    created += 1
    return "\(newID)-\(created)"
  }

  // MARK: the local broker

  /// Tells the local broker what it may use, if that is something else than it was told.
  private mutating func tell(_ now: Nanoseconds, _ effects: inout [NodeEffect]) {
    guard isConnected else { return }
    guard let entry else {
      // A node that the ledger does not know holds nothing: not after it was removed from it.
      if let order, known != nil || isAbsent, doubt == .none, order.limit > 0 {
        send(limit: 0, minimum: 0, until: nil, &effects)
      }
      return
    }
    var share: (limit: Int64, minimum: Int64, until: Nanoseconds?)
    if isUsable(now) {
      share = (entry.held, entry.minimum, validUntil)
    } else if doubt == .none || order != nil {
      // What was told before holds on, but nothing more.
      let least = doubt == .none ? entry.minimum : min(order?.minimum ?? 0, entry.minimum)
      let isOpen = order.map { $0.deadline.map { $0 - parameters.lead > now } ?? true } ?? false
      share = (isOpen ? max(order?.limit ?? 0, least) : least, least, order?.deadline)
    } else {
      return
    }
    share.limit = min(share.limit, entry.held, lowering?.limit ?? .max)
    share.minimum = min(share.minimum, share.limit, lowering?.minimum ?? .max)
    let hasDeadline = parameters.takesFromSilent && rules.contains(.expires)
    // A minimum is lowered while the engine does not answer: what is above it has no deadline that
    // the broker could keep.
    if hasDeadline, share.until == nil { share.limit = share.minimum }
    let (limit, minimum) = (share.limit, share.minimum)
    let until = limit > minimum && hasDeadline ? share.until : nil
    if isTold, let order, (order.limit, order.minimum) == (limit, minimum),
      order.deadline == until
    {
      return
    }
    send(limit: limit, minimum: minimum, until: until, &effects)
  }

  private mutating func send(
    limit: Int64, minimum: Int64, until: Nanoseconds?, _ effects: inout [NodeEffect]
  ) {
    let order = ShareOrder(
      number: (order?.number ?? 0) + 1, limit: limit, minimum: minimum, deadline: until)
    self.order = order
    isTold = true
    effects.append(.share(order))
  }

  /// Whether the limit in force on this node is known to be at most this.
  func isInForce(_ limit: Int64) -> Bool {
    guard let order, let report, isConnected else { return false }
    return report.answers >= order.number && report.inForce <= limit
  }

  /// The broker lowers by itself when the validity ends; the order that says so is for the record.
  private mutating func expire(_ now: Nanoseconds, _ effects: inout [NodeEffect]) {
    guard let order, let until = order.deadline, order.limit > order.minimum,
      now >= until - parameters.lead, !isUsable(now)
    else { return }
    effects.append(.note(.expired(minimum: order.minimum)))
    if isConnected {
      send(limit: order.minimum, minimum: order.minimum, until: nil, &effects)
    } else {
      self.order?.limit = order.minimum
      self.order?.deadline = nil
      isTold = false
    }
  }

  // MARK: time

  private func readDue(_ now: Nanoseconds) -> Nanoseconds? {
    guard let entry, let lastRead,
      entry.held > entry.minimum || waitingSince != nil || entry.mark != nil
    else { return nil }
    return lastRead
      + (parameters.takesFromSilent ? parameters.validity / 4 : parameters.validity)
  }

  private func nextDeadline(_ now: Nanoseconds) -> Nanoseconds? {
    var next = Nanoseconds.max
    func consider(_ moment: Nanoseconds?) {
      // What was due by now is done, or waits for an answer.
      if let moment, moment > now { next = min(next, moment) }
    }
    if let order, let until = order.deadline, order.limit > order.minimum {
      consider(until - parameters.lead)
    }
    if request == nil, report != nil || hasEnded {
      consider(retry)
      if retry == nil {
        consider(readDue(now))
        consider(plannedDeadline(now))
      }
    }
    return next == .max ? nil : next
  }
}
