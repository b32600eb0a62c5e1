// SPDX-License-Identifier: Apache-2.0
package import Cgroups
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

/// Why a container has one group although it should have two, as a clause.
package struct NoOuterGroup: Error {
  /// The clause.
  package let reason: String

  init(_ reason: String) { self.reason = reason }
}

extension StateRoot {
  /// Where it is written down which outer groups there are: a file for each instance, by its nonce.
  ///
  /// It is written before the group is made and removed after it. The flock(2) on the directory orders
  /// who makes a group and who removes one.
  var groups: String { path + "/groups" }

  /// Whether there is an outer group that has not been removed.
  package var hasOuterGroups: Bool {
    (try? FileDescriptor.open(groups, O_RDONLY | O_DIRECTORY).entries())?.isEmpty == false
  }
}

/// Makes the groups around containers' own, and removes them.
package enum OuterGroups {
  /// For how long another process may have the lock.
  private static let patience: Nanoseconds = 200_000_000
  /// What failed where another process has a group of this name.
  private static let makeStep = "make"
  private static let startStep = "have systemd start"

  /// Makes a container's outer group, with its first limits: no process is in it before the low-level
  /// runtime has made the container's own in it.
  ///
  /// - Parameters:
  ///   - group: The group.
  ///   - id: The container's id.
  ///   - nonce: Of the container's instance, which exists.
  ///   - limits: The first limits.
  ///   - root: Where it is written down.
  /// - Throws: ``NoOuterGroup``; then nothing is left of it.
  package static func make(
    _ group: OuterGroup, of id: String, _ nonce: UInt64, _ limits: FirstLimits, _ root: StateRoot
  ) throws(NoOuterGroup) {
    guard let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let location = CgroupLocation(group: group.path, mounts: mounts),
      let directory = location.memory
    else { throw NoOuterGroup("the memory hierarchy is mounted nowhere") }
    guard let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/")) else { return }
    let parent = String(directory[..<slash])
    // A group that another process has made has limits, and perhaps processes, of its own.
    if access(parent + "/" + group.inner, F_OK) == 0 {
      throw NoOuterGroup("its cgroup \(group.inner) exists already")
    }
    do throws(SystemError) {
      let registry = try locked(root)
      let entry = ApplicationDirectory.name(of: nonce)
      var note = Note(path: directory)
      if case .slice(let slice) = group.kind { note.slice = slice }
      if group.kind == .legacy { note.group = group.path }
      try registry.open(entry, O_WRONLY | O_CREAT | O_EXCL).write(note.text)
      // From now on it is not swept. systemd may take its time, and others want the lock.
      flock(registry.number, LOCK_UN)
      do throws(SystemError) {
        switch group.kind {
        case .slice(let slice): try start(slice, for: id, limits)
        case .unified: try make(directory, in: parent, location.cpuRoot)
        case .legacy: try makeLegacy(directory, limits)
        }
        if group.kind != .legacy {
          try check(directory)
          try limit(directory, limits)
        }
      } catch {
        // A group that was not made is another process's. Of one that was, the keeper tries again when
        // the instance is gone.
        let isMade = error.step != makeStep && error.step != startStep
        if !isMade || remove(note, within: milliseconds) { try registry.remove(entry) }
        throw error
      }
    } catch { throw NoOuterGroup("\(error)") }
  }

  /// What is written down of an outer group.
  private struct Note {
    /// Its directory.
    let path: String
    /// The slice that it is, if systemd has made it.
    var slice: String?
    /// Its path from the root of all hierarchies of cgroup v1, if it is in those.
    var group: String?

    init(path: String) { self.path = path }

    init?(_ entry: String, in directory: borrowing FileDescriptor) {
      guard let bytes = try? directory.open(entry, O_RDONLY).readAll(limit: 8192) else {
        return nil
      }
      let keyed = KeyValueText(String(decoding: bytes, as: UTF8.self))
      guard let path = keyed["path"] else { return nil }
      self.init(path: path)
      (slice, group) = (keyed["slice"], keyed["group"])
    }

    var text: String {
      var keyed = KeyValueText()
      keyed["path"] = path
      (keyed["slice"], keyed["group"]) = (slice, group)
      return keyed.text
    }
  }

  private static func make(
    _ directory: String, in parent: String, _ top: String
  ) throws(SystemError) {
    delegate(parent, from: top)
    if mkdir(directory, 0o755) != 0 {
      // A group left by a container of this id is empty. Any other group is not ours.
      guard errno == EEXIST, rmdir(directory) == 0, mkdir(directory, 0o755) == 0 else {
        throw SystemError.last(makeStep, directory)
      }
    }
    // A container that shares the host's cgroup namespace looks through it.
    chmod(directory, 0o755)
  }

  /// Makes sure that a group in it can have CPU and memory limits.
  private static func check(_ directory: String) throws(SystemError) {
    let type = (try? FileDescriptor.text(of: directory + "/cgroup.type")) ?? ""
    guard type == "domain\n", access(directory + "/cpu.max", F_OK) == 0,
      access(directory + "/memory.max", F_OK) == 0
    else {
      throw SystemError("use the CPU and memory controllers in", directory, errno: EOPNOTSUPP)
    }
  }

  /// Has systemd make the group, and waits until it is there.
  private static func start(
    _ slice: String, for id: String, _ limits: FirstLimits
  ) throws(SystemError) {
    // A slice left by a container of this id has nothing in it.
    for _ in 0..<2 {
      guard var request = ScopeRequest(starting: slice, for: id, limits) else {
        throw SystemError("ask systemd for", slice, errno: ECONNREFUSED)
      }
      switch request.answer(within: milliseconds) {
      case .granted: return
      case .pending: throw SystemError("wait for systemd to start", slice, errno: ETIMEDOUT)
      case .refused, .unknown: stop(slice, within: milliseconds)
      }
    }
    throw SystemError(startStep, slice, errno: EEXIST)
  }

  /// For how long systemd may take for a slice.
  private static let milliseconds: Int32 = 2000
  /// The same while the lock is held, which a newcomer waits for.
  private static let millisecondsLocked: Int32 = 100

  /// - Returns: Whether there is no such slice any more.
  @discardableResult
  private static func stop(_ slice: String, within milliseconds: Int32) -> Bool {
    guard var request = ScopeRequest(stopping: slice) else { return false }
    let outcome = request.answer(within: milliseconds)
    return outcome == .granted || outcome == .unknown
  }

  /// Removes a group that has no group in it.
  ///
  /// - Returns: Whether it is gone.
  private static func remove(_ note: Note, within milliseconds: Int32) -> Bool {
    if let group = note.group { return removeLegacy(group) }
    guard let slice = note.slice else { return rmdir(note.path) == 0 || errno == ENOENT }
    // systemd would end a scope in it.
    guard !hasGroups(note.path) else { return false }
    return stop(slice, within: milliseconds)
  }

  /// Makes it in the memory hierarchy of cgroup v1; the low-level runtime makes it in the others, on
  /// the way to the container's own.
  private static func makeLegacy(
    _ directory: String, _ limits: FirstLimits
  ) throws(SystemError) {
    // A group left by a container of this id is empty. Any other group is not ours.
    guard makeAll(directory) || (errno == EEXIST && rmdir(directory) == 0 && makeAll(directory))
    else { throw SystemError.last(makeStep, directory) }
    guard let memory = limits.memory else { return }
    let writer = try MemoryWriter(directory: directory, version: .v1, readOnly: false)
    try writer.set(memory, swap: limits.swap) { 0 }
  }

  /// Makes a directory and those above it.
  private static func makeAll(_ directory: String) -> Bool {
    if mkdir(directory, 0o755) != 0 {
      guard errno == ENOENT, let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/")),
        makeAll(String(directory[..<slash])) || errno == EEXIST, mkdir(directory, 0o755) == 0
      else { return false }
    }
    chmod(directory, 0o755)
    return true
  }

  /// - Returns: Whether it is gone from all hierarchies of cgroup v1.
  private static func removeLegacy(_ group: String) -> Bool {
    let mounts = CgroupMount.parse((try? FileDescriptor.text(of: "/proc/self/mountinfo")) ?? "")
    var isGone = true
    for mount in mounts {
      guard let directory = mount.directory(for: group[...])?.path else { continue }
      if rmdir(directory) != 0, errno != ENOENT, errno != EROFS { isGone = false }
    }
    return isGone
  }

  private static func hasGroups(_ path: String) -> Bool {
    var status = stat()
    // A directory has a link for itself, one in its parent, and one for each in it.
    return stat(path, &status) == 0 && status.st_nlink > 2
  }

  /// Enables the controllers in all groups down to the outer group's parent, as runc does
  /// (fs2.CreateCgroupPath).
  private static func delegate(_ parent: String, from top: String) {
    if let has = try? FileDescriptor.text(of: parent + "/cgroup.subtree_control"),
      Set(has.split(whereSeparator: { $0 == " " || $0 == "\n" })).isSuperset(of: ["cpu", "memory"])
    {
      return
    }
    let controllers = ((try? FileDescriptor.text(of: top + "/cgroup.controllers")) ?? "")
      .split(whereSeparator: { $0 == " " || $0 == "\n" })
    var path = top
    func handDown() {
      // A threaded group, whose processes cannot be read, and one with processes have no memory
      // controller to hand down. With others handed down they would be of another type: leave them.
      let processes = try? FileDescriptor.text(of: path + "/cgroup.procs")
      guard path == top || processes?.isEmpty == true,
        let file = try? FileDescriptor.open(path + "/cgroup.subtree_control", O_WRONLY)
      else { return }
      for name in controllers { try? file.write("+" + name) }
    }
    handDown()
    for part in Substring(parent.utf8.dropFirst(top.utf8.count)).split(at: "/") {
      path += "/" + part
      if mkdir(path, 0o755) == 0 { chmod(path, 0o755) }
      handDown()
    }
  }

  private static func limit(
    _ directory: String, _ limits: FirstLimits
  ) throws(SystemError) {
    if let cpu = limits.cpu {
      let group = try FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY)
      var writer = try CgroupWriter(directory: group, version: .v2, readOnly: false)
      try writer.set(cpu, from: try writer.current())
    }
    if let memory = limits.memory {
      let writer = try MemoryWriter(directory: directory, version: .v2, readOnly: false)
      try writer.set(memory, swap: nil) { 0 }
    }
  }

  /// Removes the outer group of a container that will not be.
  ///
  /// - Parameters:
  ///   - nonce: Of its instance.
  ///   - root: Where it is written down.
  package static func remove(_ nonce: UInt64, _ root: StateRoot) {
    let entry = ApplicationDirectory.name(of: nonce)
    guard root.hasOuterGroups, let registry = try? locked(root),
      let note = Note(entry, in: registry)
    else { return }
    if remove(note, within: millisecondsLocked) { try? registry.remove(entry) }
  }

  /// Removes the outer groups of containers whose instances are gone.
  ///
  /// - Parameters:
  ///   - root: Where they are written down.
  ///   - watch: Is called for a group before it is tried, to report the removal of the inner group.
  /// - Returns: How many are left, with a group in them; nil where it has to be tried again.
  static func sweep(_ root: StateRoot, watch: (String) -> Void) -> Int? {
    guard root.hasOuterGroups else { return 0 }
    guard let registry = try? locked(root), let names = try? registry.entries(),
      let nonces = try? root.nonces()
    else { return nil }
    let isLive = { (name: String) in ApplicationDirectory.nonce(name).map(nonces.contains) ?? false
    }
    let live = Set(names.filter(isLive).compactMap { Note($0, in: registry)?.path })
    var left = 0
    var mustRetry = false
    for name in names where !isLive(name) {
      if let note = Note(name, in: registry), !live.contains(note.path) {
        watch(note.path)
        if !remove(note, within: millisecondsLocked) {
          left += 1
          // The runtime removes one hierarchy's group after the other, and one is watched.
          mustRetry = mustRetry || (note.group != nil && !hasGroups(note.path))
          continue
        }
      }
      try? registry.remove(name)
    }
    return mustRetry ? nil : left
  }

  private static func locked(_ root: StateRoot) throws(SystemError) -> FileDescriptor {
    try StateDirectory.make(root.path)
    try StateDirectory.make(root.groups)
    let directory = try FileDescriptor.open(root.groups, O_RDONLY | O_DIRECTORY)
    let deadline = monotonicNow() + patience
    while try !directory.lock(wait: false) {
      guard monotonicNow() < deadline else {
        throw SystemError("lock", root.groups, errno: EWOULDBLOCK)
      }
      usleep(1000)
    }
    return directory
  }
}
