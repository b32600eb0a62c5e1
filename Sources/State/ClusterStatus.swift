// SPDX-License-Identifier: Apache-2.0
package import Application
internal import OCISpec
package import Quantities

/// What the agent says of an application whose scope is the cluster: `cluster` in its directory.
///
/// JSON, replaced as a whole after a change. Amounts are nanocores or bytes, times nanoseconds.
package struct ClusterStatus: Equatable, Sendable {
  /// What is known of the engine.
  package struct Engine: Equatable, Sendable {
    /// "etcd" or "kubernetes".
    package var kind = ""
    /// The address that is asked.
    package var endpoint = ""
    /// Whether the last request was answered.
    package var isReachable = false
    /// Why not.
    package var complaint: String?
    /// Requests of this agent, for all applications.
    package var requests: Int64 = 0
    /// Those that were not answered.
    package var failures: Int64 = 0
    /// How long the answered ones took, in all.
    package var latency: Nanoseconds = 0

    /// Nothing is known.
    package init() {}
  }

  /// What the ledger says of a node.
  package struct Node: Equatable, Sendable {
    /// What it is called.
    package var name: String
    /// What it holds.
    package var held: Int64
    /// What it keeps if the engine does not answer.
    package var minimum: Int64
    /// What its members declare.
    package var declared: Int64
    /// What its members could use.
    package var want: Int64
    /// Another node suspects that it is silent.
    package var isSuspected: Bool

    /// Makes a node from its parts.
    package init(
      name: String, held: Int64, minimum: Int64, declared: Int64, want: Int64, isSuspected: Bool
    ) {
      self.name = name
      self.held = held
      self.minimum = minimum
      self.declared = declared
      self.want = want
      self.isSuspected = isSuspected
    }
  }

  /// Something that happened to the share of this node.
  package struct Note: Equatable, Sendable {
    /// On the wall clock.
    package var time: Nanoseconds
    /// What happened.
    package var sentence: String

    /// Makes a note.
    package init(time: Nanoseconds, sentence: String) {
      self.time = time
      self.sentence = sentence
    }
  }

  /// What happened how often, since the agent has begun.
  package enum Counter: String, CaseIterable, Sendable {
    /// Shares that were taken, and released.
    case gains, releases
    /// Swaps that another node has won, and swaps whose outcome is not known.
    case conflicts, doubts
    /// The engine did not answer in time, and the minimum held.
    case expiries
    /// What silent nodes held was taken; what this node held was taken by others.
    case takings, losses
    /// A ledger was older than one seen before, and refused.
    case refusals
    /// Reads and swaps.
    case reads, swaps
  }

  /// One resource.
  package struct Resource: Equatable, Sendable {
    /// The newest ledger that was seen.
    package var id = ""
    /// Its generation.
    package var generation: Int64 = 0
    /// The limit of the whole application.
    package var limit: Int64 = 0
    /// What no node holds.
    package var free: Int64 = 0
    /// The share of this node: what the broker was told last.
    package var share: Int64 = 0
    /// What the broker keeps after the deadline.
    package var minimum: Int64 = 0
    /// When the minimum holds, on CLOCK_BOOTTIME; nil if the share stays.
    package var deadline: Nanoseconds?
    /// The limit in force, by the broker.
    package var inForce: Int64 = 0
    /// What its members could use.
    package var wanted: Int64 = 0
    /// Why nothing can be shared; nil while all is well.
    package var complaint: String?
    /// The nodes of the ledger, by name.
    package var nodes: [Node] = []
    /// What has happened how often.
    package var counters: [Counter: Int64] = [:]
    /// How often a gain was waited for no longer than the bound of ``waitBounds``, and longer than that
    /// before; the last is of all others.
    package var waits = [Int64](repeating: 0, count: Self.waitBounds.count + 1)
    /// How long gains were waited for, in all.
    package var totalWait: Nanoseconds = 0
    /// The last things that happened, the newest last.
    package var notes: [Note] = []

    /// In nanoseconds: 1 ms to 10 s.
    package static let waitBounds: [Nanoseconds] = [
      1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000,
    ].map { $0 * 1_000_000 }

    /// Nothing is known.
    package init() {}
  }

  /// What the application is called.
  package var name = ""
  /// Its namespace.
  package var namespace = ""
  /// What this node is called in the ledger.
  package var node = ""
  /// The engine.
  package var engine = Engine()
  /// CPU, in nanocores.
  package var cpu = Resource()
  /// Memory, in bytes.
  package var memory = Resource()

  /// Nothing is known.
  package init() {}

  /// One of both.
  package subscript(resource: SharedResource) -> Resource {
    get { resource == .cpu ? cpu : memory }
    set { if resource == .cpu { cpu = newValue } else { memory = newValue } }
  }

  /// The most nodes that are listed.
  package static let mostNodes = 64
  /// The most bytes that are read.
  package static let mostBytes = 1 << 18
}

extension ClusterStatus {
  /// The JSON text.
  package var text: String {
    var text = "{\"format\":1,\"name\":\(Self.quoted(name)),"
    text += "\"namespace\":\(Self.quoted(namespace)),\"node\":\(Self.quoted(node)),\"engine\":{"
    text += "\"kind\":\(Self.quoted(engine.kind)),\"endpoint\":\(Self.quoted(engine.endpoint)),"
    text += "\"reachable\":\(engine.isReachable),"
    if let complaint = engine.complaint { text += "\"complaint\":\(Self.quoted(complaint))," }
    text += "\"requests\":\(engine.requests),\"failures\":\(engine.failures),"
    text += "\"latency\":\(engine.latency)},\"resources\":{"
    text += "\"cpu\":\(Self.json(cpu)),\"memory\":\(Self.json(memory))}}\n"
    return text
  }

  private static func json(_ resource: Resource) -> String {
    var text = "{\"id\":\(quoted(resource.id)),\"generation\":\(resource.generation),"
    text += "\"limit\":\(resource.limit),\"free\":\(resource.free),\"share\":\(resource.share),"
    text += "\"minimum\":\(resource.minimum),"
    if let deadline = resource.deadline { text += "\"deadline\":\(deadline)," }
    text += "\"inForce\":\(resource.inForce),\"wanted\":\(resource.wanted),"
    if let complaint = resource.complaint { text += "\"complaint\":\(quoted(complaint))," }
    let nodes = resource.nodes.map { node in
      "{\"name\":\(quoted(node.name)),\"held\":\(node.held),\"minimum\":\(node.minimum),"
        + "\"declared\":\(node.declared),\"want\":\(node.want),\"suspected\":\(node.isSuspected)}"
    }
    text += "\"nodes\":[" + nodes.joined(separator: ",") + "],\"counters\":{"
    text += Counter.allCases.map { "\"\($0.rawValue)\":\(resource.counters[$0] ?? 0)" }
      .joined(separator: ",")
    text += "},\"waits\":[" + resource.waits.map { "\($0)" }.joined(separator: ",")
    text += "],\"totalWait\":\(resource.totalWait),\"notes\":["
    let notes = resource.notes.map { note in
      "{\"time\":\(note.time),\"sentence\":\(quoted(note.sentence))}"
    }
    return text + notes.joined(separator: ",") + "]}"
  }

  private static func quoted(_ value: String) -> String {
    var text = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\0"..<" ", "\u{7f}"..."\u{9f}": text += " "
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }

  /// Reads the text; nil for a text that is none, or of a format to come.
  package init?(text: String) {
    guard let json = JSONValue.ifValid(Array(text.utf8)) else { return nil }
    self.init()
    var format: Int64?
    json.forEachMember { key, value throws(Never) in
      switch key {
      case "format": format = value.integer
      case "name": name = value.string ?? ""
      case "namespace": namespace = value.string ?? ""
      case "node": node = value.string ?? ""
      case "engine": engine = Self.engine(value)
      case "resources":
        value.forEachMember { key, value throws(Never) in
          if key == "cpu" { cpu = Self.resource(value) }
          if key == "memory" { memory = Self.resource(value) }
        }
      default: break
      }
    }
    guard format == 1 else { return nil }
  }

  private static func engine(_ json: borrowing JSONValue) -> Engine {
    var engine = Engine()
    json.forEachMember { key, value throws(Never) in
      switch key {
      case "kind": engine.kind = value.string ?? ""
      case "endpoint": engine.endpoint = value.string ?? ""
      case "reachable": engine.isReachable = value.isTrue
      case "complaint": engine.complaint = value.string
      case "requests": engine.requests = value.integer ?? 0
      case "failures": engine.failures = value.integer ?? 0
      case "latency": engine.latency = value.integer ?? 0
      default: break
      }
    }
    return engine
  }

  private static func resource(_ json: borrowing JSONValue) -> Resource {
    var resource = Resource()
    json.forEachMember { key, value throws(Never) in
      switch key {
      case "id": resource.id = value.string ?? ""
      case "generation": resource.generation = value.integer ?? 0
      case "limit": resource.limit = value.integer ?? 0
      case "free": resource.free = value.integer ?? 0
      case "share": resource.share = value.integer ?? 0
      case "minimum": resource.minimum = value.integer ?? 0
      case "deadline": resource.deadline = value.integer
      case "inForce": resource.inForce = value.integer ?? 0
      case "wanted": resource.wanted = value.integer ?? 0
      case "complaint": resource.complaint = value.string
      case "nodes":
        value.forEachElement { value throws(Never) in resource.nodes.append(node(value)) }
      case "counters":
        value.forEachMember { key, value throws(Never) in
          if let counter = Counter(rawValue: key) { resource.counters[counter] = value.integer }
        }
      case "waits":
        var waits: [Int64] = []
        value.forEachElement { value throws(Never) in waits.append(value.integer ?? 0) }
        if waits.count == resource.waits.count { resource.waits = waits }
      case "totalWait": resource.totalWait = value.integer ?? 0
      case "notes":
        value.forEachElement { value throws(Never) in resource.notes.append(note(value)) }
      default: break
      }
    }
    return resource
  }

  private static func node(_ json: borrowing JSONValue) -> Node {
    var node = Node(name: "", held: 0, minimum: 0, declared: 0, want: 0, isSuspected: false)
    json.forEachMember { key, value throws(Never) in
      switch key {
      case "name": node.name = value.string ?? ""
      case "held": node.held = value.integer ?? 0
      case "minimum": node.minimum = value.integer ?? 0
      case "declared": node.declared = value.integer ?? 0
      case "want": node.want = value.integer ?? 0
      case "suspected": node.isSuspected = value.isTrue
      default: break
      }
    }
    return node
  }

  private static func note(_ json: borrowing JSONValue) -> Note {
    var note = Note(time: 0, sentence: "")
    json.forEachMember { key, value throws(Never) in
      if key == "time" { note.time = value.integer ?? 0 }
      if key == "sentence" { note.sentence = value.string ?? "" }
    }
    return note
  }
}
