// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// Waits for the low-level runtime to say which process the container's init is.
struct PidFileWait: ~Copyable {
  private let directory: FileDescriptor
  private let name: String
  private let watch: FileWatch
  private let stale: (identity: FileStatus.Identity, modified: Int64?)?
  private let readyTicks: Int64
  private let cgroupName: String?
  /// The directory in which the low-level runtime keeps the container's state.
  private let runtimeState: String

  /// The time between two looks where nothing tells of the file.
  private static let poll: Nanoseconds = 5_000_000
  /// From then on the runtime's own state is looked at, too: another process that may write into
  /// the pid file's directory may have taken the file away.
  private static let patience: Nanoseconds = 1_000_000_000

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
    cgroupName = state.cgroupName
    runtimeState = state.root + "/" + state.id
  }

  /// Waits until there is an init, or the runtime has ended without one.
  ///
  /// - Parameters:
  ///   - runtime: The process that the low-level runtime runs in; its pidfd stayed valid across
  ///     execve.
  ///   - fence: What has to be kept up meanwhile, for a strict container.
  ///   - outer: The group of ours around the container's own; nil for a container that has one group.
  /// - Returns: nil when there is no container and will be none.
  /// - Throws: ``SystemError`` when waiting itself fails.
  func wait(
    until runtime: borrowing ProcessHandle, keeping fence: CPUFence? = nil,
    around outer: FirstOuter? = nil
  ) throws(SystemError) -> ProcessIdentity? {
    let poller = try Poller()
    try watch.add(to: poller, token: 0)
    try poller.add(runtime.descriptor.number, token: 1)
    try fence?.watch.add(to: poller, token: 2)
    var timer = try DeadlineTimer()
    try poller.add(timer.descriptor.number, token: 3)
    try outer?.watch.add(to: poller, token: 4)
    let start = monotonicNow()
    while true {
      // First whether it has ended, then the file: written before the end, it is there now.
      let hasEnded = runtime.hasEnded
      let now = monotonicNow()
      if let found = look(alsoAtState: hasEnded || now - start >= Self.patience) { return found }
      if hasEnded { return nil }
      // A process may get into its group after its pid is in the file.
      let isSoon = !watch.hears || (now - start < Self.patience && youngProcess() != nil)
      try timer.set(now + (isSoon ? Self.poll : Self.patience))
      var treeHasChanged = false
      var groupHasChanged = false
      try poller.wait {
        treeHasChanged = treeHasChanged || $0 == 2
        groupHasChanged = groupHasChanged || $0 == 4
      }
      if groupHasChanged { outer?.look() }
      watch.drain()
      timer.acknowledge()
      if treeHasChanged { fence?.settleSoon() }
    }
  }

  /// Looks for the container's init.
  ///
  /// - Parameter alsoAtState: Whether the low-level runtime's own state is read where the file does
  ///   not say it.
  /// - Returns: The process; nil where no source names one that can be the container's.
  func look(alsoAtState: Bool = true) -> ProcessIdentity? {
    if let found = youngProcess(), isInGroup(found) { return found }
    guard alsoAtState, let found = processOfState(), isInGroup(found) else { return nil }
    return found
  }

  /// A process that is said to be the container's init and is in none of the container's cgroups;
  /// nil where there is none.
  func unbelieved() -> ProcessIdentity? {
    if let found = processOfState(), !isInGroup(found) { return found }
    guard let found = youngProcess(), !isInGroup(found) else { return nil }
    return found
  }

  /// The process that the file names, if the file is new and ours, and the process younger than
  /// READY.
  private func youngProcess() -> ProcessIdentity? {
    guard let status = try? directory.status(of: name), status.isRegularFile,
      status.user == 0 || status.user == geteuid(), !isStale(status),
      let text = directory.openIfPossible(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)?
        .contentsIfReadable(),
      let pid = Int32(text.prefix { $0 != "\n" })
    else { return nil }
    return young(pid)
  }

  /// The same that the low-level runtime has written down for itself.
  private func processOfState() -> ProcessIdentity? {
    guard let pid = RuntimeStates.initProcess(in: runtimeState) else { return nil }
    return young(pid)
  }

  private func young(_ pid: Int32) -> ProcessIdentity? {
    guard pid > 0, let identity = ProcessIdentity(pid: pid), identity.startTicks >= readyTicks
    else {
      return nil
    }
    return identity
  }

  private func isInGroup(_ process: ProcessIdentity) -> Bool {
    guard let cgroupName else { return true }
    guard let membership = FileDescriptor.textIfReadable(of: "/proc/\(process.pid)/cgroup") else {
      return false
    }
    let groups = CgroupMembership.parse(membership)
    let group =
      groups.first { $0.controllers.contains("cpu") } ?? groups.first { $0.controllers.isEmpty }
    return group.map { CgroupLocation.isNamed($0.path.utf8[...], cgroupName) } ?? false
  }

  /// Whether it is what lay there before: runc renames a new file into its place, crun writes the
  /// new pid into the old file.
  private func isStale(_ status: FileStatus) -> Bool {
    guard let stale, status.identity == stale.identity else { return false }
    return stale.modified.map { $0 == status.modified } ?? true
  }
}
