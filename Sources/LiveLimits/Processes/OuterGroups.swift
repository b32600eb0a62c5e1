// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// Why a container has one group although it should have two, as a clause.
public struct NoOuterGroup: Error {
  /// The clause.
  public let reason: String

  init(_ reason: String) { self.reason = reason }
}

extension StateRoot {
  /// Where it is written down which outer groups there are: a file for each instance, by its nonce.
  ///
  /// It is written before the group is made and removed after it. The flock(2) on the directory orders
  /// who makes a group and who removes one.
  var groups: String { path + "/groups" }

  /// Whether there is an outer group that has not been removed.
  public var hasOuterGroups: Bool {
    (try? FileDescriptor.open(groups, O_RDONLY | O_DIRECTORY).entries())?.isEmpty == false
  }
}

/// Makes the groups around containers' own, and removes them.
public enum OuterGroups {
  /// For how long another process may have the lock.
  private static let patience: Nanoseconds = 200_000_000

  /// Makes a container's outer group, with its first limits: no process is in it before the low-level
  /// runtime has made the container's own in it.
  ///
  /// - Parameters:
  ///   - group: The group.
  ///   - nonce: Of the container's instance, which exists.
  ///   - base: What the CPU limit starts from.
  ///   - memory: The same of the memory limit; nil where that is left alone.
  ///   - root: Where it is written down.
  /// - Throws: ``NoOuterGroup``; then nothing is left of it.
  public static func make(
    _ group: OuterGroup, for nonce: UInt64, _ base: CPUBase, _ memory: MemoryBase?,
    _ root: StateRoot
  ) throws(NoOuterGroup) {
    guard let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let location = CgroupLocation(group: group.path, mounts: mounts), location.version == .v2
    else { throw NoOuterGroup("the unified hierarchy is mounted nowhere") }
    let directory = location.cpu
    guard let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/")) else { return }
    let parent = String(directory[..<slash])
    // A group that another process has made has limits, and perhaps processes, of its own.
    if access(parent + "/" + group.inner, F_OK) == 0 {
      throw NoOuterGroup("its cgroup \(group.inner) exists already")
    }
    do throws(SystemError) {
      let registry = try locked(root)
      let entry = ApplicationRoom.name(of: nonce)
      var text = KeyedText()
      text["path"] = directory
      try registry.open(entry, O_WRONLY | O_CREAT | O_EXCL).write(text.text)
      do throws(SystemError) {
        try make(directory, in: parent, location.cpuRoot)
      } catch {
        try registry.remove(entry)
        throw error
      }
      do throws(SystemError) {
        try limit(directory, base, memory)
      } catch {
        if rmdir(directory) == 0 { try registry.remove(entry) }
        throw error
      }
    } catch { throw NoOuterGroup("\(error)") }
  }

  private static func make(
    _ directory: String, in parent: String, _ top: String
  ) throws(SystemError) {
    delegate(parent, from: top)
    if mkdir(directory, 0o755) != 0 {
      // A group left by a container of this id is empty. Any other group is not ours.
      guard errno == EEXIST, rmdir(directory) == 0, mkdir(directory, 0o755) == 0 else {
        throw SystemError.last("make", directory)
      }
    }
    // A container that shares the host's cgroup namespace looks through it.
    chmod(directory, 0o755)
    let type = (try? FileDescriptor.text(of: directory + "/cgroup.type")) ?? ""
    guard type == "domain\n", access(directory + "/cpu.max", F_OK) == 0,
      access(directory + "/memory.max", F_OK) == 0
    else {
      rmdir(directory)
      throw SystemError("use the CPU and memory controllers in", parent, errno: EOPNOTSUPP)
    }
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
      guard let file = try? FileDescriptor.open(path + "/cgroup.subtree_control", O_WRONLY) else {
        return
      }
      for name in controllers { try? file.write("+" + name) }
    }
    handDown()
    for part in Substring(parent.utf8.dropFirst(top.utf8.count)).split(at: "/") {
      path += "/" + part
      if mkdir(path, 0o755) == 0 { chmod(path, 0o755) }
      handDown()
    }
  }

  /// Writes the first limits, where they are less than what the container's own group will have.
  private static func limit(
    _ directory: String, _ base: CPUBase, _ memory: MemoryBase?
  ) throws(SystemError) {
    let first = base.initial()
    if first < base.quota(of: base.firstInner) {
      let group = try FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY)
      var writer = try CgroupWriter(directory: group, version: .v2, readOnly: false)
      try writer.set(base.limit(of: first), from: try writer.current())
    }
    guard let memory else { return }
    let least = memory.first ?? memory.bounds.clamp(memory.declared ?? memory.limit)
    if memory.firstInner < MemoryBase.unlimited, least < memory.firstInner {
      let writer = try MemoryWriter(directory: directory, version: .v2, readOnly: false)
      try writer.set(least, swap: nil) { 0 }
    }
  }

  /// Removes the outer group of a container that will not be.
  ///
  /// - Parameters:
  ///   - nonce: Of its instance.
  ///   - root: Where it is written down.
  public static func remove(_ nonce: UInt64, _ root: StateRoot) {
    let entry = ApplicationRoom.name(of: nonce)
    guard root.hasOuterGroups, let registry = try? locked(root),
      let path = path(entry, in: registry)
    else { return }
    if rmdir(path) == 0 || errno == ENOENT { try? registry.remove(entry) }
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
    let isLive = { (name: String) in ApplicationRoom.nonce(name).map(nonces.contains) ?? false }
    let live = Set(names.filter(isLive).compactMap { path($0, in: registry) })
    var left = 0
    for name in names where !isLive(name) {
      if let path = path(name, in: registry), !live.contains(path) {
        watch(path)
        if rmdir(path) != 0, errno != ENOENT {
          left += 1
          continue
        }
      }
      try? registry.remove(name)
    }
    return left
  }

  private static func path(_ entry: String, in directory: borrowing FileDescriptor) -> String? {
    guard let bytes = try? directory.open(entry, O_RDONLY).readAll(limit: 8192) else { return nil }
    return KeyedText(String(decoding: bytes, as: UTF8.self))["path"]
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
