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
    !FileDescriptor.entriesIfReadable(of: groups).isEmpty
  }
}

/// Makes the groups around containers' own, and removes them.
package enum OuterGroups {
  /// For how long another process may have the lock.
  private static let patience: Nanoseconds = 200_000_000
  /// For how long systemd may take for a slice.
  private static let milliseconds: Int32 = 2000
  /// The same while the lock is held, which a newcomer waits for.
  private static let millisecondsLocked: Int32 = 100

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
    guard let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
      let location = CgroupLocation(group: group.path, mounts: mounts),
      let directory = location.memory
    else { throw NoOuterGroup("the memory hierarchy is mounted nowhere") }
    // A group that another process has made has limits, and perhaps processes, of its own.
    if access(CgroupLocation.parent(directory) + "/" + group.inner, F_OK) == 0 {
      throw NoOuterGroup("its cgroup \(group.inner) exists already")
    }
    do throws(SystemError) {
      let registry = try locked(root)
      let entry = ApplicationDirectory.name(of: nonce)
      let made = OuterGroupDirectory(group, at: directory)
      try registry.open(entry, O_WRONLY | O_CREAT | O_EXCL).write(made.text)
      // From now on it is not swept. systemd may take its time, and others want the lock.
      flock(registry.number, LOCK_UN)
      do throws(SystemError) {
        try made.make(for: id, below: location.cpuRoot, limits, within: milliseconds)
      } catch {
        // A group that was not made is another process's. Of one that was, the keeper tries again when
        // the instance is gone.
        let isAnothers = OuterGroupDirectory.isAnothers(error)
        if isAnothers || made.remove(within: milliseconds) { try registry.remove(entry) }
        throw error
      }
    } catch { throw NoOuterGroup("\(error)") }
  }

  /// Removes the outer group of a container that will not be.
  ///
  /// - Parameters:
  ///   - nonce: Of its instance.
  ///   - root: Where it is written down.
  package static func remove(_ nonce: UInt64, _ root: StateRoot) {
    let entry = ApplicationDirectory.name(of: nonce)
    // Whatever is in the way here, the keeper tries again.
    guard root.hasOuterGroups, let registry = try? locked(root),
      let note = OuterGroupDirectory(entry, in: registry)
    else { return }
    if note.remove(within: millisecondsLocked) { registry.removeIfPossible(entry) }
  }

  /// Removes the outer groups of containers whose instances are gone.
  ///
  /// - Parameters:
  ///   - root: Where they are written down.
  ///   - watch: Is called for a group before it is tried, to report the removal of the inner group.
  /// - Returns: How many are left, with a group in them; nil where it has to be tried again.
  static func sweep(_ root: StateRoot, watch: (String) -> Void) -> Int? {
    guard root.hasOuterGroups else { return 0 }
    // Without all of it nothing is known to be dead: the keeper tries again.
    guard let registry = try? locked(root), let names = try? registry.entries(),
      let nonces = try? root.nonces()
    else { return nil }
    let isLive = { (name: String) in ApplicationDirectory.nonce(name).map(nonces.contains) ?? false
    }
    let live = Set(names.filter(isLive).compactMap { OuterGroupDirectory($0, in: registry)?.path })
    var left = 0
    var mustRetry = false
    for name in names where !isLive(name) {
      if let note = OuterGroupDirectory(name, in: registry), !live.contains(note.path) {
        watch(note.path)
        if !note.remove(within: millisecondsLocked) {
          left += 1
          // The runtime removes one hierarchy's group after the other, and one is watched.
          mustRetry = mustRetry || (note.group != nil && !note.hasGroups)
          continue
        }
      }
      registry.removeIfPossible(name)
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

extension OuterGroupDirectory {
  /// Reads what was written down of it.
  fileprivate init?(_ entry: String, in directory: borrowing FileDescriptor) {
    guard
      let bytes = directory.openIfPossible(entry, O_RDONLY)?.bytesIfReadable(limit: 8192)
    else { return nil }
    let keyed = KeyValueText(String(decoding: bytes, as: UTF8.self))
    guard let path = keyed["path"] else { return nil }
    self.init(path: path, slice: keyed["slice"], group: keyed["group"])
  }

  /// What is written down of it.
  fileprivate var text: String {
    var keyed = KeyValueText()
    keyed["path"] = path
    (keyed["slice"], keyed["group"]) = (slice, group)
    return keyed.text
  }
}
