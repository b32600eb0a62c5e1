// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// One application at one moment.
struct ApplicationReport: Equatable {
  /// A container that is a member.
  struct Member: Equatable {
    /// The container's id; nil where its state cannot be read.
    var id: String?
    /// What engines call it.
    var name: ContainerName?
    var priority: Int32
    var record: MemberRecord

    /// What a row calls it.
    var label: String { name?.text ?? id.map(shortID) ?? "-" }
  }

  /// What it is called.
  var name: String
  /// The Kubernetes namespace; nil outside of Kubernetes.
  var namespace: String?
  /// The runtime's root.
  var root: String
  /// The directory's name in `apps/`.
  var room: String
  /// The broker's pid; nil where there is none at the moment.
  var broker: Int32?
  /// In nanocores; nil if no broker answers.
  var cpu: ApplicationMessage.Figures?
  /// In bytes; nil if no broker answers, or no member's memory is shared.
  var memory: ApplicationMessage.Figures?
  var members: [Member]
  /// What is known of other nodes; nil if it spans none.
  var cluster: ClusterReport?

  /// The least of a resource that its members need together.
  func least(of resource: SharedResource) -> Int64 {
    members.reduce(0) { $0 + ($1.record[resource]?.floor ?? 0) }
  }

  private static func json(
    _ figures: ApplicationMessage.Figures?, _ number: (Int64) -> JSON
  ) -> JSON {
    guard let figures else { return .null }
    return .object([
      ("limit", number(figures.limit)), ("inForce", number(figures.inForce)),
      ("granted", number(figures.charged)), ("waiting", .integer(figures.waiting)),
    ])
  }

  /// The member of `escra app list --json`; it is a package contract.
  var json: JSON {
    var members: [(name: String, value: JSON)] = [
      ("name", .string(name)), ("namespace", .optional(namespace)), ("root", .string(root)),
      ("directory", .string(room)), ("brokerPid", .optional(broker)),
      ("cpu", Self.json(cpu) { .number(Double($0) / 1e9) }),
      ("memory", Self.json(memory) { .integer($0) }),
      (
        "members",
        .array(
          self.members.map { member in
            .object([
              ("id", .optional(member.id)), ("name", .optional(member.name?.text)),
              ("priority", .integer(Int64(member.priority))),
              ("cpu", .number(Double(member.record.cpu.held) / 1e9)),
              ("cpuDeclared", .number(Double(member.record.cpu.declared) / 1e9)),
              ("memory", .optional(member.record.memory?.held)),
              ("memoryDeclared", .optional(member.record.memory?.declared)),
            ])
          })
      ),
    ]
    if let cluster { members.append(("cluster", cluster.json)) }
    return .object(members)
  }

  /// What `escra app list` prints.
  static func table(of reports: [ApplicationReport]) -> Table {
    Table(
      columns: [
        Table.Column(title: "APP"), Table.Column(title: "NAMESPACE"),
        Table.Column(title: "MEMBERS", isNumber: true),
        Table.Column(title: "CPU LIMIT", isNumber: true),
        Table.Column(title: "CPU GRANTED", isNumber: true),
        Table.Column(title: "MEM LIMIT", isNumber: true),
        Table.Column(title: "MEM GRANTED", isNumber: true),
        Table.Column(title: "WAITING", isNumber: true), Table.Column(title: "BROKER"),
      ],
      rows: reports.map { report in
        [
          report.name, report.namespace ?? "-", "\(report.members.count)",
          report.cpu.map { Self.cores($0.inForce) } ?? "-",
          report.cpu.map { Self.cores($0.charged) } ?? "-",
          report.memory.map { bytes($0.inForce) } ?? "-",
          report.memory.map { bytes($0.charged) } ?? "-",
          report.cpu.map { "\($0.waiting)" } ?? "-", report.broker.map { "\($0)" } ?? "(none)",
        ]
      })
  }

  /// What `escra app show` prints.
  ///
  /// - Parameter width: Characters of a terminal's line; nil where standard output is none.
  /// - Returns: Sentences, and a row for each member.
  func lines(columns width: Int? = nil) -> [String] {
    var lines = ["\(name) has \(members.count) member\(members.count == 1 ? "" : "s")."]
    if let cpu {
      lines.append(Self.sentence("CPU", cpu, Self.cores) + Self.waiting(cpu))
    }
    if let memory { lines.append(Self.sentence("Memory", memory, bytes) + Self.waiting(memory)) }
    if let broker {
      lines.append("Process \(broker) is the broker.")
    } else {
      lines.append("There is no broker at the moment: no limit is raised until there is one.")
    }
    if let cluster { lines += cluster.lines }
    let rows = members.map { member in
      [
        member.label, member.id.map(shortID) ?? "-", "\(member.priority)",
        Self.cores(member.record.cpu.declared),
        Self.cores(member.record.cpu.held), member.record.memory.map { bytes($0.declared) } ?? "-",
        member.record.memory.map { bytes($0.held) } ?? "-",
      ]
    }
    let table = Table(
      columns: [
        Table.Column(title: "NAME"), Table.Column(title: "ID"),
        Table.Column(title: "PRIORITY", isNumber: true),
        Table.Column(title: "CPU DECLARED", isNumber: true),
        Table.Column(title: "CPU GRANTED", isNumber: true),
        Table.Column(title: "MEM DECLARED", isNumber: true),
        Table.Column(title: "MEM GRANTED", isNumber: true),
      ], rows: rows)
    let shown = width.map { table.fitting($0, leavingOut: ["PRIORITY", "ID"]).table } ?? table
    let nodes = cluster?.table.map { [""] + $0.lines } ?? []
    return Table.wrapped(lines.map(Table.printable), to: width) + nodes + [""] + shown.lines
  }

  private static func cores(_ nanocores: Int64) -> String {
    fixed(Double(nanocores) / 1e9, 2)
  }

  private static func sentence(
    _ name: String, _ figures: ApplicationMessage.Figures, _ amount: (Int64) -> String
  ) -> String {
    let (limit, inForce) = (amount(figures.limit), amount(figures.inForce))
    let changing = figures.limit == figures.inForce ? "" : ", and shall be \(limit)"
    return "\(name): the limit is \(inForce)\(changing); \(amount(figures.charged)) are granted"
  }

  private static func waiting(_ figures: ApplicationMessage.Figures) -> String {
    switch figures.waiting {
    case 0: "."
    case 1: ", and one member could use more."
    case let count: ", and \(count) members could use more."
    }
  }
}

/// Looks at the applications there are.
struct ApplicationObserver {
  let root: StateRoot

  /// For how long a broker may think.
  static let patience: Nanoseconds = 300_000_000

  /// All of them, by name.
  func look() -> [ApplicationReport] {
    let rooms =
      FileDescriptor.entriesIfReadable(of: root.applications)
    let ids = identities()
    return rooms.sorted().compactMap { report($0, ids) }
      .sorted { ($0.name, $0.namespace ?? "", $0.room) < ($1.name, $1.namespace ?? "", $1.room) }
  }

  private func report(
    _ directory: String, _ ids: [UInt64: (id: String, name: ContainerName?)]
  ) -> ApplicationReport? {
    guard let room = ApplicationDirectory.ifThere(root.applications + "/" + directory),
      let scope = room.scope
    else { return nil }
    // A room that is just being removed has no members.
    let members = ((try? room.registered()) ?? []).map { record in
      ApplicationReport.Member(
        id: ids[record.nonce]?.id, name: ids[record.nonce]?.name, priority: record.priority,
        record: record)
    }
    guard !members.isEmpty else { return nil }
    func figures(_ resource: SharedResource) -> ApplicationMessage.Figures? {
      let answer = ApplicationCall.ask(
        .status, about: resource, in: room, patience: Self.patience)
      guard case .figures(let figures)? = answer, figures.members > 0 else { return nil }
      return figures
    }
    return ApplicationReport(
      name: scope.name, namespace: scope.namespace, root: scope.root, room: directory,
      broker: room.broker, cpu: figures(.cpu), memory: figures(.memory),
      members: members.sorted { ($0.id ?? "", $0.record.nonce) < ($1.id ?? "", $1.record.nonce) },
      cluster: room.isClusterScoped
        ? ClusterReport(status: room.clusterStatus, now: boottimeNow()) : nil)
  }

  /// Ids and names of containers by nonce.
  private func identities() -> [UInt64: (id: String, name: ContainerName?)] {
    let names = NameReader()
    var ids: [UInt64: (id: String, name: ContainerName?)] = [:]
    for path in root.instances() {
      if let directory = StateDirectory.ifThere(path), let state = directory.load() {
        ids[directory.nonce] = (state.id, names.name(of: state, at: path))
      }
    }
    return ids
  }
}

/// Finds the application that a person means.
///
/// - Parameters:
///   - wanted: Its name, or that of its directory.
///   - namespace: The Kubernetes namespace that was typed, if any.
///   - reports: The applications there are.
/// - Returns: The application that is meant.
/// - Throws: ``Complaint`` when there is none, or more than one.
func choose(
  application wanted: String, namespace: String?, among reports: [ApplicationReport]
) throws(Complaint) -> ApplicationReport {
  let found = reports.filter {
    ($0.name == wanted || $0.room == wanted) && (namespace == nil || $0.namespace == namespace)
  }
  guard let first = found.first else {
    throw Complaint("no application is called \"\(wanted)\"; escra app list lists them")
  }
  if found.count == 1 { return first }
  throw Complaint(
    "\(found.count) applications are called \"\(wanted)\"; say which by its directory: "
      + found.map { "\($0.room) (\($0.namespace ?? $0.root))" }.joined(separator: ", "))
}
