// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The memory files of a container that was found, open, and the kernel's calls registered.
enum FoundMemory {
  /// Opens all of it for a container whose memory is to be moved, and completes its state with what
  /// was found.
  ///
  /// - Parameters:
  ///   - location: Where the container is.
  ///   - state: The container.
  ///   - isFirst: Whether it was not found before.
  ///   - isObserver: Whether nothing is to be written.
  /// - Returns: What it may have, and the descriptors by place; nil where its memory is left alone.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  static func open(
    _ location: CgroupLocation, _ state: inout ContainerState, isFirst: Bool, isObserver: Bool
  ) throws(SystemError) -> (base: MemoryBase, files: [ReexecState.Place: Int32])? {
    guard state.memory != nil, location.memory != nil else { return nil }
    let name = state.cgroupName
    let inner = state.memoryInner(in: location.memory)
    guard var base = state.memory else { return nil }
    if isFirst, inner != nil, location.version.hasMemoryHigh, state.membership == nil, !isObserver {
      base.isLine = state.initProcess.map { seesGroupsAbove($0.pid) } ?? false
      state.memory?.isLine = base.isLine
    }
    let isScope = location.version.hasMemoryHigh && CgroupLocation.isScope(location.memory)
    if inner == nil, base.told == nil, isScope {
      // An older version had told systemd this, by D-Bus.
      base.told = base.scopeLimit
    }
    // A member starts with what its application has granted.
    let files = try open(
      location, named: name, around: inner, &base,
      isFirst: isFirst, isNews: isFirst && state.membership == nil, isObserver: isObserver)
    base.needed = nil
    // A member has what was granted.
    if !isFirst || isObserver || state.membership != nil { base.predicted = nil }
    state.memory?.needed = nil
    state.memory?.predicted = nil
    state.memory?.inner = base.inner
    state.memory?.told = base.told
    state.memory?.declared = base.declared
    return (base, files)
  }

  /// Whether a process has the caller's cgroup namespace: then it can read all groups above its own.
  private static func seesGroupsAbove(_ pid: Int32) -> Bool {
    func namespace(_ process: String) -> FileStatus.Identity? {
      // Its absence is an answer: the process has ended.
      (try? FileStatus.following("/proc/\(process)/ns/cgroup"))?.identity
    }
    guard let own = namespace("self") else { return false }
    return namespace("\(pid)") == own
  }

  /// Opens all of it.
  ///
  /// - Parameters:
  ///   - location: Where the container is.
  ///   - name: What its own group is called, which may be around that.
  ///   - inner: The container's own group, if that is around it.
  ///   - base: What it may have; completed by the limit that was found.
  ///   - isFirst: Whether it was not found before.
  ///   - isNews: Whether no supervisor has moved that limit yet.
  ///   - isObserver: Whether nothing is to be written.
  /// - Returns: The descriptors by place; empty where its memory cannot be moved.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  private static func open(
    _ location: CgroupLocation, named name: String?, around inner: String?,
    _ base: inout MemoryBase, isFirst: Bool, isNews: Bool, isObserver: Bool
  ) throws(SystemError) -> [ReexecState.Place: Int32] {
    guard let directory = location.memory else { return [:] }
    let version = location.version
    let usage = try FileDescriptor.open(.memoryUsage, of: directory, version, O_RDONLY)
    // The kernel brings the sums of a group up to date when many pages have changed in it, and of a
    // group above only every two seconds (memcg_rstat_updated, mm/memcontrol.c).
    let statistics = try FileDescriptor.open(
      .memoryStatistics, of: inner ?? directory, version, O_RDONLY)
    let scope = CgroupLocation.scope(around: directory, named: name)
    let writer = try MemoryWriter(
      directory: directory, version: version, readOnly: isObserver,
      in: scope, around: inner, isLine: base.isLine)
    if base.isLine {
      // The first limit was written before there was a process.
      let found = try writer.current()
      try? writer.set(found, swap: nil) { 0 }
    }
    if isFirst, base.isScope {
      // Also where config.json declares it by a name that is not read (linux.resources.unified).
      base.told = min(base.told ?? .max, try writer.current())
    }
    if isFirst, !isObserver, base.isScope || scope != nil,
      let first = base.needed ?? base.declared, base.bounds.clamp(first) < (try writer.current())
    {
      // The runtime has told systemd the most that the container may have; it starts with less.
      // Refused, what is found is judged as a write of another process.
      try? writer.set(base.bounds.clamp(first), swap: nil) { use(usage) }
    }
    if let found = try writer.inner() {
      if base.inner == nil { (base.inner, base.told) = (found, found) }
      _ = base.takeInner(found) { limit throws(SystemError) in try writer.raiseInner(to: limit) }
    }
    base.find(try writer.current(), isNews: isNews)
    var open: [ReexecState.Place: Int32] = [:]
    let calls = try MemoryCalls(
      of: directory, around: inner, version, usage: usage,
      thresholds: thresholds(base, above: use(usage)))
    (open[.memoryCalls], open[.outOfMemory]) = calls.release()
    open[.memoryKills] =
      try MemoryCalls.openKills(of: directory, around: inner, version).release()
    let files = writer.release()
    open[.memoryLimit] = files.limit
    open[.memorySwap] = files.swap
    open[.memoryLine] = files.line
    open[.memoryOther] = files.other
    (open[.innerMemory], open[.innerSwap]) = (files.inner, files.innerSwap)
    open[.memoryUsage] = usage.release()
    open[.memoryStatistics] = statistics.release()
    open[.machineMemory] = FileDescriptor.openIfPossible("/proc/meminfo", O_RDONLY)?.release()
    open[.machinePressure] =
      FileDescriptor.openIfPossible("/proc/pressure/memory", O_RDONLY)?.release()
    return open
  }

  /// Has a watch report the writes of all processes to the limit, and to memory.high.
  static func watch(
    _ location: CgroupLocation, named name: String?, around inner: String?,
    by watch: borrowing WriteWatch
  ) {
    guard let directory = location.memory else { return }
    let scope = CgroupLocation.scope(around: directory, named: name)
    for path in MemoryWriter.watched(directory, location.version, in: scope, around: inner) {
      if let file = FileDescriptor.openIfPossible(path, O_RDONLY) { watch.add(writesTo: file) }
    }
  }

  /// Gives a container that is not supervised any more what it declared.
  ///
  /// If it uses more than that, it keeps what it has: cgroup v1 refuses less, and v2 would kill. It
  /// is not slowed down.
  ///
  /// - Parameters:
  ///   - base: What it declared.
  ///   - directory: Its group in the memory hierarchy.
  ///   - version: Which interface that has.
  ///   - name: What its own group is called, which may be around that.
  ///   - inner: Its own group, if the directory is that of one around it.
  static func giveBack(
    _ base: MemoryBase, _ directory: String, _ version: CgroupVersion, named name: String?,
    around inner: String?
  ) {
    let scope = CgroupLocation.scope(around: directory, named: name)
    guard
      // The group is gone, and its limit with it.
      let writer = try? MemoryWriter(
        directory: directory, version: version, readOnly: false, in: scope, around: inner)
    else { return }
    let limit = base.declared ?? MemoryLimit.unlimited
    // As above; what the kernel refuses stays as it is.
    if let inner = (try? writer.inner()) ?? nil, inner < limit {
      try? writer.raiseInner(to: limit, swap: base.memorySwap(at: limit))
    }
    // Refused below what it uses.
    try? writer.set(
      limit, line: nil, swap: base.declared == nil ? nil : base.memorySwap(at: limit)
    ) { () throws(SystemError) in
      use(try FileDescriptor.open(.memoryUsage, of: directory, version, O_RDONLY))
    }
    // Refused, memory.high is where it was, and no process would ever move it again.
    try? writer.set(line: nil)
  }

  private static func use(_ file: borrowing FileDescriptor) -> Int64 {
    let text = file.contentsIfReadable() ?? ""
    return Int64(text.prefix { $0 != "\n" }) ?? 0
  }

  /// The thresholds, those first that a growing container comes by first.
  static func thresholds(_ base: MemoryBase, above use: Int64) -> [Int64] {
    let all = UsageThresholds(to: base.limit).rungs
    return all.filter { $0 > use } + all.filter { $0 <= use }.reversed()
  }
}
