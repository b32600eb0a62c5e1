// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Quantities
internal import State
internal import Syscalls

/// What the agent of this node says of an application that spans nodes.
struct ClusterReport: Equatable {
  /// What the agent has written down; nil if it has said nothing.
  var status: ClusterStatus?
  /// The time of CLOCK_BOOTTIME, which deadlines are of.
  var now: Nanoseconds

  /// How many changes of a share are shown.
  private static let mostNotes = 5

  /// What `escra app show` prints of it.
  var lines: [String] {
    guard let status else {
      return [
        "It spans nodes, and no agent of this node has said anything of it: the limit is what the "
          + "members on this node declare. Start escra-agent."
      ]
    }
    let state =
      status.engine.isReachable
      ? "answers" : "does not answer" + (status.engine.complaint.map { ": \($0)" } ?? "")
    var lines = [
      "It spans nodes; this one is \(status.node). The engine at \(status.engine.endpoint) \(state)."
    ]
    for resource in SharedResource.allCases {
      let part = status[resource]
      guard part.limit > 0 || part.share > 0 else { continue }
      lines.append(sentence(of: part, resource))
      if let complaint = part.complaint { lines.append("\(resource.name): \(complaint)") }
      for note in part.notes.suffix(Self.mostNotes) {
        lines.append("  \(rfc3339(note.time))  \(note.sentence)")
      }
    }
    return lines
  }

  private func sentence(of part: ClusterStatus.Resource, _ resource: SharedResource) -> String {
    var text =
      "\(resource.name) of all nodes: the limit is \(resource.shown(part.limit)), of which this node "
      + "has \(resource.shown(part.share)) and \(resource.shown(part.free)) are free"
    if let deadline = part.deadline, part.share > part.minimum {
      let left = max(0, deadline - now)
      text +=
        "; without the engine it keeps \(resource.shown(part.minimum)), from "
        + "\(fixed(Double(left) / 1e9, 1)) s from now on"
    }
    return text + "."
  }

  /// The table of nodes; nil where the agent knows of none.
  var table: Table? {
    guard let status, !status.cpu.nodes.isEmpty else { return nil }
    return Table(
      columns: [
        Table.Column(title: "NODE"), Table.Column(title: "CPU HELD", isNumber: true),
        Table.Column(title: "CPU MINIMUM", isNumber: true),
        Table.Column(title: "CPU WANTED", isNumber: true),
        Table.Column(title: "MEM HELD", isNumber: true), Table.Column(title: "SUSPECTED"),
      ],
      rows: status.cpu.nodes.map { node in
        let memory = status.memory.nodes.first { $0.name == node.name }
        return [
          node.name, fixed(Double(node.held) / 1e9, 2), fixed(Double(node.minimum) / 1e9, 2),
          fixed(Double(node.want) / 1e9, 2), memory.map { bytes($0.held) } ?? "-",
          node.isSuspected ? "yes" : "no",
        ]
      })
  }

  /// The member `cluster` of an application's JSON.
  var json: JSON {
    guard let status else { return .object([("node", .null)]) }
    func part(_ resource: SharedResource, _ number: (Int64) -> JSON) -> JSON {
      let part = status[resource]
      return .object([
        ("limit", number(part.limit)), ("free", number(part.free)),
        ("share", number(part.share)), ("minimum", number(part.minimum)),
        (
          "nodes",
          .array(
            part.nodes.map { node in
              .object([
                ("name", .string(node.name)), ("held", number(node.held)),
                ("minimum", number(node.minimum)), ("wanted", number(node.want)),
                ("suspected", .bool(node.isSuspected)),
              ])
            })
        ),
      ])
    }
    return .object([
      ("node", .string(status.node)), ("engine", .string(status.engine.kind)),
      ("reachable", .bool(status.engine.isReachable)),
      ("cpu", part(.cpu) { .number(Double($0) / 1e9) }),
      ("memory", part(.memory) { .integer($0) }),
    ])
  }
}

extension SharedResource {
  /// What a sentence calls it.
  fileprivate var name: String { self == .cpu ? "CPU" : "Memory" }
}
