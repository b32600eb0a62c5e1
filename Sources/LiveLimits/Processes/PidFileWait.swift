// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// Waits for the low-level runtime to say which process the container's init is.
struct PidFileWait: ~Copyable {
  private let directory: FileDescriptor
  private let name: String
  private let watch: FileWatch
  private let stale: (identity: FileStatus.Identity, modified: Int64?)?
  private let readyTicks: Int64

  /// The time between two looks where nothing tells of the file.
  private static let poll: Nanoseconds = 5_000_000

  /// Starts to listen; what arrives from now on is not missed.
  init(_ state: ContainerState) throws(SystemError) {
    let slash = state.pidFile.lastIndex(of: "/")
    let parent = slash.map { $0 == state.pidFile.startIndex ? "/" : state.pidFile[..<$0] } ?? "."
    name = String(
      slash.map { state.pidFile[state.pidFile.index(after: $0)...] }
        ?? state.pidFile[...])
    let directory = try FileDescriptor.open(String(parent), O_RDONLY | O_DIRECTORY)
    let watch = FileWatch.ifAvailable()
    try watch.addArrivals(in: directory)
    self.directory = directory
    self.watch = watch
    stale = state.stalePidFile.map { ($0, state.stalePidFileModified) }
    readyTicks = state.readyTicks
  }

  /// Waits until there is an init, or the runtime has ended without one.
  ///
  /// - Parameters:
  ///   - runtime: The process that the low-level runtime runs in; its pidfd stayed valid across
  ///     execve.
  ///   - fence: What has to be kept up meanwhile, for a strict container.
  /// - Returns: nil when there is no container and will be none.
  /// - Throws: ``SystemError`` when waiting itself fails.
  func wait(
    until runtime: borrowing ProcessHandle, keeping fence: CPUFence? = nil
  ) throws(SystemError) -> ProcessIdentity? {
    let poller = try Poller()
    try watch.add(to: poller, token: 0)
    try poller.add(runtime.descriptor.number, token: 1)
    try fence?.watch.add(to: poller, token: 2)
    var timer = try DeadlineTimer()
    try poller.add(timer.descriptor.number, token: 3)
    while true {
      // First whether it has ended, then the file: written before the end, it is there now.
      let hasEnded = runtime.hasEnded
      if let found = look() { return found }
      if hasEnded { return nil }
      if !watch.hears { try timer.set(monotonicNow() + Self.poll) }
      var treeHasChanged = false
      try poller.wait { treeHasChanged = treeHasChanged || $0 == 2 }
      watch.drain()
      timer.acknowledge()
      if treeHasChanged { fence?.settleSoon() }
    }
  }

  /// Reads the file, and believes it only if it is new and names a process younger than READY.
  func look() -> ProcessIdentity? {
    guard let status = try? directory.status(of: name), status.isRegularFile, !isStale(status),
      let text = try? directory.open(name, O_RDONLY | O_NOFOLLOW).contents(subject: name),
      let pid = Int32(text.prefix { $0 != "\n" }), pid > 0,
      let identity = ProcessIdentity(pid: pid), identity.startTicks >= readyTicks
    else { return nil }
    return identity
  }

  /// Whether it is what lay there before: runc renames a new file into its place, crun writes the
  /// new pid into the old file.
  private func isStale(_ status: FileStatus) -> Bool {
    guard let stale, status.identity == stale.identity else { return false }
    return stale.modified.map { $0 == status.modified } ?? true
  }
}
