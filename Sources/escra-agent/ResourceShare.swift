// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Nodes
internal import Quantities
internal import State
internal import Syscalls

/// The share of one resource, with its timer and what is known of it for people.
final class ResourceShare {
  /// Notes that are kept.
  static let mostNotes = 16

  var state: NodeShare
  let key: LedgerKey
  /// The timer of ``NodeShare/deadline``, and what it is set to.
  var timer: EventLoop.Deadline?
  var armed: Nanoseconds?
  /// What the broker was told last, and what it has said last.
  var order: ShareOrder?
  var report: BrokerReport?
  var complaint: String?
  /// The newest change that the watch has told of and the share was not told of yet, and when it is.
  var hint: LedgerReading??
  var hintTimer: EventLoop.Deadline?
  private var hintsLeft = ResourceShare.burst
  private var hintsCounted: Nanoseconds = 0
  private var counted = ClusterStatus.Resource()

  /// So many changes are dealt with one by one; then one in ``hintInterval``, which is the newest.
  private static let burst: Int64 = 8
  private static let hintInterval: Nanoseconds = 20_000_000

  init(_ state: NodeShare, key: LedgerKey) {
    self.state = state
    self.key = key
  }

  /// When the next change of the ledger may be dealt with: now, mostly.
  ///
  /// Of a ledger that a thousand nodes change all the time not each version is worth reading.
  func nextHint(_ now: Nanoseconds) -> Nanoseconds {
    let gained = min(Self.burst - hintsLeft, (now - hintsCounted) / Self.hintInterval)
    hintsLeft += gained
    hintsCounted = hintsLeft == Self.burst ? now : hintsCounted + gained * Self.hintInterval
    guard hintsLeft > 0 else { return hintsCounted + Self.hintInterval }
    hintsLeft -= 1
    return now
  }

  /// Counts a request to the engine.
  func count(_ effect: NodeEffect) {
    switch effect {
    case .read: add(.reads)
    case .swap: add(.swaps)
    case .share, .note: break
    }
  }

  private func add(_ counter: ClusterStatus.Counter) {
    counted.counters[counter, default: 0] += 1
  }

  /// Keeps what has happened.
  ///
  /// - Returns: What an operator has to know at once; nil for what happens all the time.
  func take(_ note: NodeNote, _ resource: SharedResource) -> String? {
    var isUrgent = false
    switch note {
    case .gained(_, _, let waited):
      add(.gains)
      counted.totalWait += waited
      let bounds = ClusterStatus.Resource.waitBounds
      counted.waits[bounds.firstIndex { waited <= $0 } ?? bounds.count] += 1
    case .gave: add(.releases)
    case .conflict: add(.conflicts)
    case .doubt: add(.doubts)
    case .expired:
      add(.expiries)
      isUrgent = true
    case .took:
      add(.takings)
      isUrgent = true
    case .lost:
      add(.losses)
      isUrgent = true
    case .refused:
      add(.refusals)
      isUrgent = true
    case .joined, .renewed, .marked, .left: isUrgent = true
    }
    guard let sentence = note.sentence(resource) else { return nil }
    counted.notes.append(ClusterStatus.Note(time: wallClockNow(), sentence: sentence))
    counted.notes.removeFirst(max(0, counted.notes.count - Self.mostNotes))
    return isUrgent ? sentence : nil
  }

  /// What is known.
  var status: ClusterStatus.Resource {
    var status = counted
    if let seen = state.seen { (status.id, status.generation) = seen }
    status.complaint = complaint
    if let order {
      status.share = order.limit
      status.minimum = order.minimum
      status.deadline = order.deadline
    }
    if let report {
      status.inForce = report.inForce
      status.wanted = report.wanted
    }
    guard let ledger = state.known?.ledger else { return status }
    status.limit = ledger.limit
    status.free = ledger.free
    let nodes = ledger.nodes.sorted { $0.key < $1.key }.prefix(ClusterStatus.mostNodes)
    status.nodes = nodes.map { name, node in
      ClusterStatus.Node(
        name: name, held: node.held, minimum: node.minimum, declared: node.declared,
        want: node.want, isSuspected: node.mark != nil)
    }
    return status
  }
}

extension SharedResource {
  /// What the resource is called in the ledger.
  var ledgerName: String { self == .cpu ? "cpu" : "memory" }

  /// An amount as people write it.
  fileprivate func shown(_ amount: Int64) -> String {
    switch self {
    case .cpu:
      let milli = (amount + 500_000) / 1_000_000
      let rest = "\(milli % 1000)"
      return "\(milli / 1000)." + String(repeating: "0", count: 3 - rest.utf8.count) + rest
        + " cores"
    case .memory: return "\((amount + 524_288) >> 20) MiB"
    }
  }
}

extension NodeNote {
  /// The note in a sentence; nil where there is nothing to say.
  func sentence(_ resource: SharedResource) -> String? {
    let of = "the node's \(resource == .cpu ? "CPU" : "memory") share"
    func shown(_ amount: Int64) -> String { resource.shown(amount) }
    switch self {
    case .joined(let held): return "\(of) begins with \(shown(held))"
    case .gained(let amount, let held, let waited):
      return "\(of) rose by \(shown(amount)) to \(shown(held)) after \(waited / 1_000_000) ms"
    case .gave(let amount, let held): return "\(of) fell by \(shown(amount)) to \(shown(held))"
    case .expired(let minimum):
      return "\(of) fell to the minimum of \(shown(minimum)): the engine did not answer in time"
    case .renewed(let held): return "\(of) is \(shown(held)): the engine answers again"
    case .marked(let node):
      return "node \(node) does not answer a request for its \(resource) share"
    case .took(let amount, let node):
      return "\(shown(amount)) of \(resource) of the silent node \(node) are free"
    case .lost(let amount, let held):
      return "other nodes took \(shown(amount)): \(of) is \(shown(held))"
    case .conflict, .doubt: return nil
    case .refused(let generation, let seen):
      return "the ledger is older than one seen before (generation \(generation), not \(seen)): "
        + "the engine was restored from a backup; the node keeps its minimum"
    case .left: return "the node has left the ledger of \(resource)"
    }
  }
}
