// SPDX-License-Identifier: Apache-2.0
package import CPUSets
internal import Glibc
internal import Quantities
package import Syscalls

extension CpusetTree {
  /// All groups of cgroup v2 that have the cpuset controller, parents before children.
  ///
  /// Only what a plan depends on is watched, before it is looked at: where strict containers are, and
  /// what is right beside them. On cgroup v2 a directory has the files of all controllers, and some are
  /// written all the time.
  ///
  /// - Parameters:
  ///   - watch: What is to report changes; no file for nothing.
  ///   - holders: The strict containers.
  /// - Returns: The groups, and whether all that count are watched.
  /// - Throws: ``SystemError`` for a group that is there and cannot be looked at.
  package func unifiedSnapshot(
    _ watch: borrowing FileWatch, holders: [StrictOwner]
  ) throws(SystemError) -> (groups: [UnifiedGroup], isWatched: Bool) {
    var groups: [UnifiedGroup] = []
    var isWatched = true
    var open: [(path: String, isBeside: Bool)] = [("/", false)]
    while let (path, isBeside) = open.popLast() {
      let isAbove = path == "/" || holders.contains { $0.path.isGroup(below: path) }
      do throws(SystemError) {
        if isAbove || isBeside {
          isWatched = listen(watch, to: path, isAbove: isAbove) && isWatched
        }
        let directory = try FileDescriptor.open(directory(path), O_RDONLY | O_DIRECTORY)
        // The controller is on in a group only where it is on in the group above, so nothing below
        // one without the file has it.
        guard let group = try Self.group(path, directory) else { continue }
        groups.append(group)
        for child in try directory.subdirectories() {
          open.append((path == "/" ? "/" + child : path + "/" + child, isAbove))
        }
      } catch {
        guard error.errno == ENOENT || error.errno == ENODEV else { throw error }
      }
    }
    return (groups, isWatched)
  }

  private static func group(
    _ path: String, _ directory: borrowing FileDescriptor
  ) throws(SystemError) -> UnifiedGroup? {
    let inode = try directory.status().identity.inode
    if path == "/" {
      return UnifiedGroup(path: path, inode: inode, cpus: CPUSet(Machine.onlineCPUs()))
    }
    guard try directory.status(of: "cpuset.cpus") != nil else { return nil }
    func set(_ name: String) throws(SystemError) -> CPUSet {
      let text = try directory.open(name, O_RDONLY).contents(subject: name)
      guard let set = CPUSet(list: text) else {
        throw SystemError("read", "\(name) of \(path)", errno: EINVAL)
      }
      return set
    }
    var group = UnifiedGroup(path: path, inode: inode, cpus: try set("cpuset.cpus"))
    if try directory.status(of: "cpuset.cpus.exclusive") != nil {
      group.exclusive = try set("cpuset.cpus.exclusive")
      let file = try directory.open("cpuset.cpus.partition", O_RDONLY)
      group.partition = CpusetPartition(
        try file.contents(subject: "cpuset.cpus.partition"))
    }
    if !group.cpus.isEmpty { group.isPopulated = directory.hasCgroupMembers }
    return group
  }

  /// - Returns: Whether there was room.
  private func listen(
    _ watch: borrowing FileWatch, to group: String, isAbove: Bool
  ) -> Bool {
    let directory = directory(group)
    var names = ["/cpuset.cpus", "/cpuset.cpus.exclusive", "/cpuset.cpus.partition"]
    var hasRoom = true
    do throws(SystemError) {
      if isAbove {
        try watch.addChildren(of: directory)
        names.append("/cgroup.subtree_control")
      }
    } catch { hasRoom = error.errno == ENOENT }
    for name in names {
      do throws(SystemError) { try watch.addWrites(toFile: directory + name) } catch {
        hasRoom = hasRoom && error.errno == ENOENT
      }
    }
    return hasRoom
  }
}
