// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Hooks
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// A container whose init is known, with everything open that supervising it takes.
///
/// Opened while there is the privilege to; nothing is opened later.
struct FoundContainer {
  var handover: ReexecState
  /// Its groups: the kernel opens their files in this process's name when it tells of a write.
  let groups: [String]
  private var open: [ReexecState.Place: Int32] = [:]
  private var clocks: [Int32] = []

  /// Opens all of it, and completes the state with what was found.
  ///
  /// - Parameters:
  ///   - state: Must have an ``ContainerState/initProcess``.
  ///   - nonce: Of its instance.
  ///   - start: Whether a supervisor had it before.
  ///   - hooks: Hooks in the scheduler that this process listens to, or will.
  ///   - root: Where they are shared.
  /// - Throws: ``SystemError``: ESRCH when the container has ended already, EXDEV when its init is
  ///   not in a cgroup of its own, and whatever opening a file says.
  init(
    _ state: inout ContainerState, nonce: UInt64, _ start: SupervisorStart,
    hooks: consuming HookRequest.Answer, _ root: StateRoot
  ) throws(SystemError) {
    // By now it is in no group that may not have realtime processes.
    ProcessSetup.setRealtime()
    let found = try ContainerCgroup(of: state)
    let location = found.location
    let (inode, memberships) = (found.inode, found.groups)
    let inner = state.inner(in: location.cpu)
    let predicted = state.base.predicted
    state.base.predicted = nil
    let isObserver = state.policy == .observe
    let writer = try CgroupWriter(
      directory: found.directory, version: location.version, readOnly: isObserver,
      in: CgroupLocation.scope(around: location.cpu, named: state.cgroupName), around: inner)
    // An observer writes nothing that another one could take for an operator's.
    if !isObserver, !GroupOwner.take(writer.quotaFile) {
      state.complete(with: location, inode: inode, groups: memberships)
      state.unsupervised = GroupOwner.reason(inode, not: nonce, root)
      throw SystemError("supervise", "a cgroup that has an owner", errno: EBUSY)
    }
    let watch = try WriteWatch(on: writer.quotaFile)
    writer.watchInner(by: watch)
    if state.memory != nil {
      FoundMemory.watch(
        location, named: state.cgroupName, around: state.memoryInner(in: location.memory),
        by: watch)
    }
    open = GroupWeights.open(state.outerHierarchies(found.ownLocation), watch)
    // What an engine has written meanwhile is declared.
    if let found = try writer.inner() {
      if state.base.inner == nil {
        (state.base.inner, state.base.told) = (found, state.base.told ?? found)
      }
      _ = state.base.takeInner(found) { limit throws(SystemError) in
        try writer.raiseInner(to: limit)
      }
    }
    // A container that declares no quota may still have a period of its own.
    if state.base.declared.quota == nil {
      let found = try writer.inner()
      state.base.declared.period =
        if let found { found.period } else {
          try writer.current().period
        }
    }
    let limit = try writer.current()
    let usage = try UsageMeter(cpu: location.cpu, cpuacct: location.cpuacct, location.version)
      .release()
    open[.usage] = usage.file

    let name = state.cgroupName
    let parents = isObserver ? [] : Self.parents(found.outermost, &state, nonce, root)
    state.findLimits(above: found.outermost, isFound: true, root)
    handover = ReexecState(
      base: state.base, found: limit, version: location.version,
      usageFormat: usage.format, isObserver: isObserver)
    for parent in parents { open.merge(parent.files) { _, found in found } }
    open.merge(state.base.above.open(.cpu, of: found.outermost, named: name, watch)) { $1 }
    let memoryAbove = state.memory?.above.open(.memory, of: found.outermost, named: name, watch)
    open.merge(memoryAbove ?? [:]) { $1 }
    handover.law = ControlLaw.Parameters(named: state.law)
    handover.update = state.update
    handover.priority = state.membership?.priority
    handover.predicted = predicted ?? 0
    handover.declaredMemory = max(0, state.declaredMemory ?? 0)
    let files = writer.release()
    open[.quota] = files.quota
    open[.period] = files.period
    open[.burst] = files.burst
    open[.other] = files.other
    open[.innerQuota] = files.inner
    open[.innerBurst] = files.innerBurst
    let hears = watch.hears
    handover.namesWriters = watch.namesWriters
    open[.watch] = watch.release()
    let below = CgroupLocation.below(inner)
    open[.freezer] = location.openFreezer(inner)?.release()
    open[.pressure] = Self.openWait(location, state.initProcess)
    self.groups = [
      location.cpu, location.memory, inner, below.flatMap { access($0, F_OK) == 0 ? $0 : nil },
      CgroupLocation.scope(around: location.cpu, named: state.cgroupName),
    ].compactMap { $0 }
    open[.initProcess] = found.release()
    open.merge(
      FoundHistory.open(
        state.profile, location, around: state.memoryInner(in: location.memory), nonce,
        id: state.id, isFirst: start != .resumed)
    ) { $1 }
    open[.members] = location.openMembers()?.release()
    let cpus = Machine.onlineCPUs()
    handover.cpus = Int64(cpus.count)
    let isFirst = state.phase == .starting
    if let memory = try FoundMemory.open(
      location, &state, isFirst: isFirst, isObserver: isObserver)
    {
      handover.memory = memory.base
      open.merge(memory.files) { _, found in found }
    }

    let order = try order(
      location, inode,
      beside: inner ?? CgroupLocation.scope(around: location.cpu, named: state.cgroupName))
    state.version = location.version
    state.noteMemorySource(nil)
    var source: String?
    switch consume hooks {
    case .ready(let hooks):
      // Without hooks its use is sampled.
      let nets = try? openHooks(hooks, order, root)
      source = nets?.source
      state.noteMemorySource(nets)
    case .later(let socket):
      if socket.writeIfPossible(order.text) { open[.promise] = socket.release() }
    case .none: break
    }
    // An observed container is far from its limit when it wakes, so that no hook tells of it.
    let hasAlarm = (source == nil || isObserver) && openAlarm(location, cpus)
    if source == nil { source = hasAlarm ? "perf, sampling" : "sampling" }
    state.complete(with: location, inode: inode, groups: memberships)
    state.source = (source ?? "sampling") + (hears ? "" : ", no inotify")
  }

  /// The groups that it is in with others and may change, one for each resource.
  private static func parents(
    _ location: CgroupLocation, _ state: inout ContainerState, _ nonce: UInt64, _ root: StateRoot
  ) -> [FoundParent] {
    (state.cpuParent, state.memoryParent) = (nil, nil)
    var found: [FoundParent] = []
    // Who cannot have more than it declares never needs more of its pod.
    if state.mayExceedDeclared(.cpu),
      let parent = FoundParent(
        .cpu, of: location.cpu, state, location.version, nonce: nonce, root)
    {
      state.cpuParent = parent.path
      found.append(parent)
    }
    if state.memory != nil, let directory = location.memory,
      state.mayExceedDeclared(.memory),
      let parent = FoundParent(
        .memory, of: directory, state, location.version, nonce: nonce, root)
    {
      state.memoryParent = parent.path
      found.append(parent)
    }
    return found
  }

  /// Leaves the files at their places and becomes the image that supervises.
  ///
  /// - Parameters:
  ///   - directory: The instance's directory, with its lock.
  ///   - listener: Where others connect.
  ///   - id: The container's id, for `ps`.
  ///   - path: The directory as everybody else sees it.
  ///   - rules: What is left of the file system; ``FileDescriptor/none`` without landlock.
  ///   - filter: The system calls that are left.
  ///   - executable: This program, opened while it could be found.
  /// - Throws: ``SystemError`` when it could not become anything else; it returns in no other way.
  mutating func becomeSupervision(
    directory: consuming FileDescriptor, listener: consuming FileDescriptor, id: String,
    path: String, rules: consuming FileDescriptor, filter: consuming FileDescriptor,
    executable: borrowing FileDescriptor
  ) throws(SystemError) {
    open[.directory] = directory.release()
    open[.listener] = listener.release()
    open[.rules] = rules.release()
    open[.filter] = filter.release()
    handover.clocks = clocks.count
    var descriptors: [Int32] = []
    for place in ReexecState.Place.allCases {
      if let number = open[place], number >= 0 {
        descriptors.append(number)
      } else {
        // Something has to stand there, so that what follows keeps its place.
        handover.leaveOut(place)
        descriptors.append(STDIN_FILENO)
      }
    }
    try Launcher.become(
      .supervisor, [id, path, SupervisorStart.found.rawValue, handover.argument],
      descriptors + clocks, executable)
  }

  /// The limits right above: the kernel opens these files, too, when it tells of a write.
  var readable: [Int32] {
    [.aboveQuota, .abovePeriod, .aboveMemory].compactMap { open[$0] }
  }

  /// What the hooks in the scheduler are to tell of.
  ///
  /// - Parameters:
  ///   - location: Where the container is.
  ///   - inode: Of the group whose limit moves.
  ///   - other: The container's other group, in or around that one, which may run out as well.
  /// - Returns: The order.
  /// - Throws: ``SystemError``; ENOENT when the other group is gone.
  private func order(
    _ location: CgroupLocation, _ inode: UInt64, beside other: String?
  ) throws(SystemError) -> WatchRequest {
    let outer = try other.map { path throws(SystemError) in
      try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY).status().identity.inode
    }
    let bounds = handover.base.bounds(hasAlarm: true)
    // Each CPU in use may hold a slice that the others wait for.
    let most = min(handover.cpus, max(1, bounds.ceiling / handover.base.period))
    return WatchRequest(
      group: inode, outer: outer,
      limits: HookLimits(
        floor: bounds.floor, quiet: bounds.floor / 5, margin: CPUController.slice * most,
        near: handover.mindsLine && location.memory == location.cpu ? MemoryLaw.near : 0))
  }

  /// Has them tell of it.
  private mutating func openHooks(
    _ hooks: consuming SchedulerHooks, _ order: WatchRequest, _ root: StateRoot
  ) throws(SystemError) -> HookIDs.Nets {
    guard let owner = ProcessIdentity(pid: getpid()) else {
      throw SystemError("find", "/proc/self/stat", errno: ENOENT)
    }
    let nets = hooks.nets
    let share = try HookLoader(root)
    try hooks.watch(order.group, outer: order.outer, order.limits, owner: owner)
    _ = consume share
    let (events, links) = hooks.release()
    open[.events] = events
    let places = [ReexecState.Place.firstLink, .secondLink, .thirdLink]
    for (place, link) in zip(places, links) { open[place] = link }
    return nets
  }

  /// - Returns: Whether there is one.
  private mutating func openAlarm(_ location: CgroupLocation, _ cpus: [Int32]) -> Bool {
    guard let path = location.perf,
      let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      // Refused, as where perf events are root's alone: then it is woken by sampling.
      let alarm = try? IdleWakeup(
        cgroup: directory, cpus: cpus,
        after: handover.base.bounds(hasAlarm: true).floor / 5)
    else { return false }
    let descriptors = alarm.release()
    open[.alarm] = descriptors.first
    clocks = Array(descriptors.dropFirst())
    return true
  }

  /// Opens what tells how long the container's own tasks waited for a CPU.
  ///
  /// That of its groups, or that of its init, which the kernel always counts.
  private static func openWait(_ location: CgroupLocation, _ process: ProcessIdentity?) -> Int32? {
    let tells = { (text: String) in ContainerHandles.waited(in: text) != nil }
    if let file = location.openWait(tells) { return file.release() }
    guard let process,
      let file = FileDescriptor.openIfPossible("/proc/\(process.pid)/schedstat", O_RDONLY),
      let text = file.contentsIfReadable(), tells(text)
    else { return nil }
    return file.release()
  }
}
