// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// The agent of a node: one ``ClusterApplication`` for each application whose scope is the cluster.
final class Agent {
  private let loop: EventLoop
  private let root: StateRoot
  private let cluster: ClusterConfig
  private let node: String
  private let ledger: any Ledger
  private var finder: RoomFinder?
  private var applications: [String: ClusterApplication] = [:]
  /// Directories by application, of those that have the ledger's object already.
  private var rooms: [LedgerName: String] = [:]
  /// A second directory of an application that another one has the share of.
  private var waiting: [LedgerName: String] = [:]
  private var signals: FileDescriptor?

  private static let startTime: Nanoseconds = 2_000_000_000

  /// What applications are called in the cluster.
  struct LedgerName: Hashable {
    var namespace: String
    var name: String
  }

  init(
    loop: EventLoop, root: StateRoot, cluster: ClusterConfig, node: String, ledger: any Ledger
  ) {
    self.loop = loop
    self.root = root
    self.cluster = cluster
    self.node = node
    self.ledger = ledger
  }

  /// Runs until SIGTERM, SIGINT or SIGHUP; containers go on.
  func run() throws(SystemError) {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&mask, signal) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    let signals = FileDescriptor(
      owning: try retrying("make", "a signal descriptor") {
        signalfd(-1, &mask, CInt(SFD_CLOEXEC | SFD_NONBLOCK))
      })
    _ = try loop.add(signals.number) { [weak self] in self?.loop.end() }
    self.signals = consume signals
    let finder = try RoomFinder(loop: loop, root: root) { [weak self] in self?.handle($0) }
    self.finder = finder
    finder.scan()
    // By then what only the start needs is done: libraries, applications that are there, handshakes.
    loop.at(loop.now + Self.startTime) { escra_trim_program() }
    try loop.run()
    for application in applications.values { application.close() }
  }

  private func handle(_ event: RoomFinder.Event) {
    switch event {
    case .found(let room, let name, let namespace):
      start(LedgerName(namespace: namespace ?? "default", name: name), room)
    case .brokerListens(let room): applications[room]?.connect()
    case .gone(let room):
      if let name = waiting.first(where: { $0.value == room })?.key { waiting[name] = nil }
      applications[room]?.end()
    }
  }

  private func start(_ name: LedgerName, _ room: String) {
    if let other = rooms[name] {
      if let application = applications[other], application.isEnding {
        // It has not left the ledgers yet, and goes on in them.
        applications[other] = nil
        applications[room] = application
        rooms[name] = room
        return application.resume(in: room)
      }
      // Of two that live the second keeps its minimum.
      complain(
        "application \(name.name) is in \(other) and in \(room): only the first has a share")
      waiting[name] = room
      return
    }
    rooms[name] = room
    let application = ClusterApplication(
      loop: loop, ledger: ledger, node: node, cluster: cluster, room: room,
      namespace: name.namespace, name: name.name
    ) { [weak self] in self?.finish(name) }
    applications[room] = application
    // A hint tells nobody anything while no application is here.
    if applications.count == 1 { watchLedger() }
    application.connect()
  }

  private func finish(_ name: LedgerName) {
    if let room = rooms.removeValue(forKey: name) {
      applications.removeValue(forKey: room)?.close()
    }
    if let next = waiting.removeValue(forKey: name) { start(name, next) }
    if applications.isEmpty { ledger.stopWatching() }
  }

  private func watchLedger() {
    ledger.watch { [weak self] hint in
      guard let self else { return }
      switch hint {
      case .any:
        for application in self.applications.values { application.ledgerMayHaveChanged() }
      case .changed(let key, let now):
        let name = LedgerName(namespace: key.namespace, name: key.application)
        guard let room = self.rooms[name] else { return }
        self.applications[room]?.ledgerHasChanged(key, now)
      }
    }
  }
}

/// Says something to the operator: a sentence on stderr, which the journal keeps.
func complain(_ sentence: String) {
  var line = "escra-agent: \(sentence)\n"
  line.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}
