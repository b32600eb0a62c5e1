// SPDX-License-Identifier: Apache-2.0
package import CPUSets
internal import Glibc
package import Quantities
package import Syscalls

/// The hierarchy that has the cpuset controller, as this process sees it: one of cgroup v1
/// (Documentation/admin-guide/cgroup-v1/cpusets.rst), or cgroup v2.
package struct CpusetTree {
  /// Where it is mounted.
  package let root: String
  /// Which interface it has.
  package let version: CgroupVersion

  /// A hierarchy somewhere.
  package init(root: String, version: CgroupVersion = .v1) {
    self.root = root
    self.version = version
  }

  /// The machine's own; nil where no hierarchy has cpuset.
  package static func ofMachine() -> CpusetTree? {
    guard let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") else { return nil }
    let all = CgroupMount.parse(mounts)
    // Mounted more than once, the whole of it counts.
    func mount(_ isMeant: (CgroupMount) -> Bool) -> CgroupMount? {
      all.first { isMeant($0) && $0.root == "/" } ?? all.first(where: isMeant)
    }
    if let found = mount({ $0.controllers.contains("cpuset") }) {
      return CpusetTree(root: found.point)
    }
    guard let found = mount({ $0.controllers.isEmpty }),
      found.availableControllers?.contains("cpuset") == true
    else { return nil }
    return CpusetTree(root: found.point, version: .v2)
  }

  /// The directory of a group.
  package func directory(_ group: String) -> String { group == "/" ? root : root + group }

  /// The group of a directory below ``root``; nil for any other.
  package func group(_ directory: String) -> String? {
    guard directory.utf8.starts(with: root.utf8) else { return nil }
    let rest = String(Substring(directory.utf8.dropFirst(root.utf8.count)))
    return rest.isEmpty ? "/" : rest
  }

  /// The CPUs of a group; nil when it is gone.
  package func cpus(of group: String) -> CPUSet? {
    set(.cpus, of: group)
  }

  /// The CPUs that a container made in a group may have; nil for all there are.
  package func allowedCPUs(in group: String) -> CPUSet? {
    if version == .v1 { return cpus(of: group) }
    // What a partition has taken of cpuset.cpus.effective counts as taken, not as forbidden.
    var allowed: CPUSet?
    var group = group
    while group != "/" {
      if let cpus = cpus(of: group), !cpus.isEmpty { allowed = allowed?.intersection(cpus) ?? cpus }
      group = group.parentGroup
    }
    return allowed
  }

  /// What partitions of cgroup v2, ours like an operator's, leave to the groups beside them.
  ///
  /// - Parameter group: Any of those groups. What counts is the nearest partition it is in, which
  ///   mostly is the root.
  /// - Returns: Their CPUs; nil where the hierarchy has no partitions.
  package func leftByPartitions(around group: String) -> CPUSet? {
    guard version.hasPartitions else { return nil }
    var group = group
    while group != "/", Self.partition(of: directory(group)) != .root { group = group.parentGroup }
    return set(.effectiveCPUs, of: group)
  }

  /// The memory nodes of a group; nil when it is gone.
  package func nodes(of group: String) -> CPUSet? {
    set(.effectiveNodes, of: group)
  }

  private func set(_ file: CgroupFile, of group: String) -> CPUSet? {
    file.text(of: directory(group), version).flatMap { CPUSet(list: $0) }
  }

  /// What kind of partition the group in a directory is; none if the kernel has no partitions.
  package static func partition(of directory: String) -> CpusetPartition {
    CpusetPartition(CgroupFile.partition.text(of: directory, .v2) ?? "")
  }

  /// Ends that the group in a directory is a partition if another process has broken it.
  ///
  /// The kernel takes the group out of those that it undoes when they are removed, and keeps its
  /// CPUs from all tasks: were it removed before, Linux 6.12 had lost them until it boots again
  /// (update_parent_effective_cpumask, cpuset_css_killed of kernel/cgroup/cpuset.c).
  package static func leaveBrokenPartition(_ directory: String, _ version: CgroupVersion) {
    guard version.hasPartitions, partition(of: directory) == .invalid else { return }
    // The next process that settles the cpusets tries again.
    _ = try? CgroupWriter.setPartition(isRoot: false, of: directory)
  }

  /// Which interface the machine's cpusets have; that of cgroup v1 if it has none.
  package static var machineVersion: CgroupVersion { ofMachine()?.version ?? .v1 }

  /// The inode of a group's directory; nil when it is gone.
  package func inode(of group: String) -> UInt64? {
    FileStatus.ifThere(directory(group))?.identity.inode
  }

  /// The group that a path which is yet to be made will be made in: the nearest that exists.
  package func existing(above path: String) -> String {
    var rest = path.utf8[...]
    while let slash = rest.lastIndex(of: UInt8(ascii: "/")) {
      rest = rest[..<slash]
      let group = rest.isEmpty ? "/" : String(Substring(rest))
      if inode(of: group) != nil { return group }
    }
    return "/"
  }

  /// Whether a process is in one of the groups above a path, the root group not counted: its tasks
  /// cannot be kept off the CPUs of what is below it.
  package func firstPopulated(above path: String) -> String? {
    var rest = path.utf8[...]
    while let slash = rest.lastIndex(of: UInt8(ascii: "/")) {
      rest = rest[..<slash]
      if rest.isEmpty { return nil }
      let group = String(Substring(rest))
      if let open = FileDescriptor.openIfPossible(directory(group), O_RDONLY | O_DIRECTORY),
        open.hasCgroupProcesses
      {
        return group
      }
    }
    return nil
  }

  /// All groups, parents before children; each is watched before it is looked at, so that whatever
  /// changes afterwards is reported.
  ///
  /// - Parameter watch: What is to report changes; no file for nothing.
  /// - Returns: The groups, and whether all of them are watched: an inotify has room for so many.
  /// - Throws: ``SystemError`` for a group that is there and cannot be looked at: what was remembered
  ///   of one that is not in the list is forgotten.
  package func snapshot(
    _ watch: borrowing FileWatch
  ) throws(SystemError) -> (groups: [CpusetGroup], isWatched: Bool) {
    var groups: [CpusetGroup] = []
    var isWatched = true
    var open = ["/"]
    while let group = open.popLast() {
      // Without a watch the caller looks at times.
      isWatched = (try? watch.addGroup(directory(group))) != nil && isWatched
      do throws(SystemError) {
        let directory = try FileDescriptor.open(directory(group), O_RDONLY | O_DIRECTORY)
        let file = try directory.open("cpuset.cpus", O_RDONLY)
        guard let cpus = CPUSet(list: try file.contents(subject: "cpuset.cpus")) else {
          throw SystemError("read", "cpuset.cpus of \(group)", errno: EINVAL)
        }
        groups.append(
          CpusetGroup(
            path: group, inode: try directory.status().identity.inode, cpus: cpus,
            hasProcesses: directory.hasCgroupProcesses))
        for child in try directory.subdirectories() {
          open.append(group == "/" ? "/" + child : group + "/" + child)
        }
      } catch {
        // A group may be gone at any of these steps; then there is nothing to do.
        guard error.errno == ENOENT || error.errno == ENODEV else { throw error }
      }
    }
    return (groups, isWatched)
  }
}
