// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `escra events`.
struct EventsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events", abstract: "Print the decisions about all containers as JSON lines.",
    discussion: """
      One JSON object a line, the oldest first: what the supervisors' records hold now, at most 512 \
      decisions a container. With --follow only those from now on, until it is interrupted.
      """)

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print new decisions as they are made.")
  var follow = false

  /// The time between two looks at the records, which wake no supervisor.
  private static let interval: Nanoseconds = 250_000_000

  func run() throws {
    var log = EventLog(root: try common.stateRoot)
    let before = log.read()
    guard follow else { return try Output.write(lines: before.map(\.line)) }
    while true {
      sleep(until: monotonicNow() + Self.interval)
      let events = log.read()
      if !events.isEmpty { try Output.write(lines: events.map(\.line)) }
    }
  }
}

/// One decision about one container.
struct Event: Equatable {
  var id: String
  var name: ContainerName?
  var root: String
  var policy: PolicyName
  var app: String?
  var entry: RecordEntry

  /// The event as one line of JSON; its members are a package contract.
  var line: String {
    var members: [(name: String, value: JSON)] = [
      ("id", .string(id)), ("name", .optional(name?.text)),
      ("namespace", .optional(name?.namespace)),
      ("policy", .string(policy.rawValue)), ("app", .optional(app)),
      ("root", .string(root)),
    ]
    if case .object(let decision) = entry.json { members += decision }
    return JSON.object(members).line
  }
}

/// Reads the records of all containers, again and again.
struct EventLog {
  private let root: StateRoot
  private let names = NameReader()
  /// How far each instance's record was read, by its directory.
  private var places: [String: (sequence: UInt64, settled: Nanoseconds?)] = [:]

  /// A file system may give two writes that are this close together one time.
  private static let resolution: Nanoseconds = 100_000_000

  init(root: StateRoot) { self.root = root }

  /// Reads what is new since the last time.
  ///
  /// - Returns: The oldest first.
  mutating func read() -> [Event] {
    var found: [Event] = []
    var next: [String: (sequence: UInt64, settled: Nanoseconds?)] = [:]
    for path in root.instances() {
      // An instance that is just being made, or removed, has no record to read.
      guard let directory = StateDirectory.ifThere(path),
        let modified = Record.modified(in: directory.descriptor)
      else { continue }
      var place = places[path] ?? (0, nil)
      if place.settled != modified, let state = directory.load() {
        let name = names.name(of: state, at: path)
        let isSettled = wallClockNow() - modified > Self.resolution
        for entry in Record.entries(in: directory.descriptor) where entry.sequence > place.sequence
        {
          found.append(
            Event(
              id: state.id, name: name, root: state.root, policy: state.policy, app: state.app,
              entry: entry))
          place.sequence = entry.sequence
        }
        place.settled = isSettled ? modified : nil
      }
      next[path] = place
    }
    places = next
    names.keep(next.keys)
    return found.sorted { ($0.entry.time, $0.id) < ($1.entry.time, $1.id) }
  }
}
