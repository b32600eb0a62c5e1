// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Where one process sits in the machine's cgroup hierarchies, as directories.
///
/// Pure text in, paths out: `/proc/PID/cgroup` says which group, `/proc/self/mountinfo` where each
/// hierarchy is mounted (cgroups(7), proc(5)).
package struct CgroupLocation: Equatable, Sendable {
  /// Which interface the cpu controller has here.
  package let version: CgroupVersion
  /// The directory that holds cpu.cfs_quota_us (v1) or cpu.max (v2).
  package private(set) var cpu: String
  /// Where the cpu hierarchy is mounted: no ancestor above it.
  package let cpuRoot: String
  /// The directory that holds cpuacct.usage; nil on v2, where ``cpu`` has cpu.stat.
  package let cpuacct: String?
  /// The directory of the memory controller.
  package private(set) var memory: String?
  /// The directory of v1's freezer; nil on v2, where ``cpu`` has cgroup.freeze.
  package let freezer: String?
  /// The directory of v1's pids controller; nil on v2.
  package let pids: String?
  /// The directory of v1's blkio controller; nil on v2.
  package let blkio: String?
  /// The directory of the cpuset controller.
  package let cpuset: String?
  /// The group in the cpuset hierarchy, from its root.
  package let cpusetGroup: String?
  /// The directory that perf events of this container are counted in, if there is one of its own.
  package let perf: String?
  /// The directory of the unified hierarchy on a hybrid machine; it has the pressure files.
  package let unified: String?

  /// Finds the directories; nil when the cpu controller has no mounted hierarchy, or the process
  /// is in its root, which is no container's.
  ///
  /// - Parameters:
  ///   - membership: The text of `/proc/PID/cgroup`.
  ///   - mounts: The text of `/proc/self/mountinfo`.
  package init?(membership: String, mounts: String) {
    let mounts = CgroupMount.parse(mounts)
    let groups = CgroupMembership.parse(membership)
    func directory(_ isMeant: ([Substring]) -> Bool) -> (path: String, root: String)? {
      guard let group = groups.first(where: { isMeant($0.controllers) }) else { return nil }
      // A hierarchy may be mounted more than once, in parts.
      for mount in mounts where isMeant(mount.controllers) {
        if let found = mount.directory(for: group.path) { return found }
      }
      return nil
    }
    func directory(of controller: Substring) -> (path: String, root: String)? {
      directory { $0.contains(controller) }
    }
    let unified = directory { $0.isEmpty }
    let cpuset = directory(of: "cpuset") ?? (directory(of: "cpu") == nil ? unified : nil)
    self.cpuset = cpuset?.path
    cpusetGroup = cpuset.map { found in
      let rest = Substring(found.path.utf8.dropFirst(found.root.utf8.count))
      return rest.isEmpty ? "/" : String(rest)
    }
    if let found = directory(of: "cpu") {
      version = .v1
      (cpu, cpuRoot) = found
      cpuacct = directory(of: "cpuacct")?.path
      memory = directory(of: "memory")?.path
      freezer = directory(of: "freezer")?.path
      pids = directory(of: "pids")?.path
      blkio = directory(of: "blkio")?.path
    } else if let found = unified, !groups.contains(where: { $0.controllers.contains("cpu") }) {
      version = .v2
      (cpu, cpuRoot) = found
      cpuacct = nil
      memory = found.path
      freezer = nil
      pids = nil
      blkio = nil
    } else {
      return nil
    }
    // On a hybrid machine an old runtime leaves its containers in the engine's unified group; one
    // that makes a group there gives it the name that the others have.
    let name = cpu.utf8.split(separator: UInt8(ascii: "/")).last
    func own(_ found: (path: String, root: String)?) -> String? {
      guard let found, found.path != found.root, let name,
        found.path.utf8.split(separator: UInt8(ascii: "/")).last?.elementsEqual(name) == true
      else { return nil }
      return found.path
    }
    self.unified = own(unified)
    // perf_event is always on in the unified hierarchy unless v1 has mounted it.
    perf =
      mounts.contains { $0.controllers.contains("perf_event") }
      ? own(directory(of: "perf_event")) : self.unified
    if cpu == cpuRoot { return nil }
  }

  /// Finds the directories of a group that has the same path in every hierarchy.
  ///
  /// - Parameters:
  ///   - group: The path from each hierarchy's root; it need not exist.
  ///   - mounts: The text of `/proc/self/mountinfo`.
  package init?(group: String, mounts: String) {
    let controllers = CgroupMount.parse(mounts).flatMap(\.controllers)
    let membership = controllers.map { "1:\($0):\(group)\n" }.joined() + "0::\(group)\n"
    self.init(membership: membership, mounts: mounts)
  }

  /// The same, with the group around the container's own as its group of memory.
  package func aroundMemory() -> CgroupLocation {
    var location = self
    location.memory = memory.map(Self.parent)
    return location
  }

  /// The same, with the group around the container's own as its group: what is above it is above both.
  package func around() -> CgroupLocation {
    var location = aroundMemory()
    location.cpu = Self.parent(cpu)
    return location
  }

  /// The directory that a directory is in.
  package static func parent(_ path: String) -> String {
    path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? path
  }

  /// The directories above the container in the cpu hierarchy, nearest first, without the root.
  package var ancestors: [String] {
    var found: [String] = []
    var path = cpu.utf8[...]
    while let slash = path.lastIndex(of: UInt8(ascii: "/")) {
      path = path[..<slash]
      guard path.count > cpuRoot.utf8.count else { break }
      found.append(String(Substring(path)))
    }
    return found
  }

  /// Whether the process is in the cgroup that is expected.
  ///
  /// - Parameter name: What config.json asked for; nil for no expectation.
  /// - Returns: Whether some part of the group is that name: crun puts processes one level below.
  package func isNamed(_ name: String?) -> Bool {
    guard let name else { return true }
    return Self.isNamed(cpu.utf8.dropFirst(cpuRoot.utf8.count), name)
  }

  /// Whether some part of a path is that name.
  package static func isNamed(_ path: Substring.UTF8View, _ name: String) -> Bool {
    path.split(separator: UInt8(ascii: "/")).contains { isPart($0, name) }
  }

  /// Whether one part of a path is that name; a scope may have its maker's name before it.
  private static func isPart(_ part: Substring.UTF8View, _ name: String) -> Bool {
    part.elementsEqual(name.utf8)
      || isScope(name)
        && part.suffix(name.utf8.count + 1).elementsEqual(("-" + name).utf8)
  }

  /// The group that crun makes below a scope; it has each limit of the scope, too.
  ///
  /// - Parameter scope: The directory of a container's own group.
  /// - Returns: Its directory, whether or not it exists; nil for what is no scope.
  package static func below(_ scope: String?) -> String? {
    isScope(scope) ? scope.map { $0 + "/container" } : nil
  }

  /// Whether a group of this name is one of systemd's scopes.
  package static func isScope(_ name: String?) -> Bool {
    name?.utf8.suffix(6).elementsEqual(".scope".utf8) == true
  }

  /// The group around the container's own that belongs to the container, too; nil where there is
  /// none.
  ///
  /// Asked for a scope of systemd's, crun puts the processes into a group "container" below it,
  /// which systemd does not touch, and sets each limit in both (crun(1), run.oci.systemd.subgroup).
  /// The lesser of the two holds.
  ///
  /// - Parameters:
  ///   - directory: ``cpu``, of the group that the processes are in.
  ///   - name: What the group is called that config.json asked for.
  /// - Returns: Its directory.
  package static func scope(around directory: String, named name: String?) -> String? {
    guard let name, isScope(name) else { return nil }
    var path = directory.utf8[...]
    while let slash = path.lastIndex(of: UInt8(ascii: "/")) {
      if isPart(path[path.index(after: slash)...], name) {
        let found = String(Substring(path))
        return found == directory ? nil : found
      }
      path = path[..<slash]
    }
    return nil
  }
}
