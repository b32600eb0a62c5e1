// SPDX-License-Identifier: Apache-2.0

/// Where one process sits in the machine's cgroup hierarchies, as directories.
///
/// Pure text in, paths out: `/proc/PID/cgroup` says which group, `/proc/self/mountinfo` where each
/// hierarchy is mounted (cgroups(7), proc(5)).
public struct CgroupLocation: Equatable, Sendable {
  /// Which interface limits are written through.
  public enum Version: String, Sendable {
    /// One hierarchy a controller (or a few); the cpu controller is on one of them.
    case v1
    /// The unified hierarchy has the cpu controller.
    case v2
  }

  /// Which interface the cpu controller has here.
  public let version: Version
  /// The directory that holds cpu.cfs_quota_us (v1) or cpu.max (v2).
  public let cpu: String
  /// Where the cpu hierarchy is mounted: no ancestor above it.
  public let cpuRoot: String
  /// The directory that holds cpuacct.usage; nil on v2, where ``cpu`` has cpu.stat.
  public let cpuacct: String?
  /// The directory of the memory controller.
  public let memory: String?
  /// The directory of v1's freezer; nil on v2, where ``cpu`` has cgroup.freeze.
  public let freezer: String?
  /// The directory that perf events of this container are counted in, if there is one of its own.
  public let perf: String?
  /// The directory of the unified hierarchy on a hybrid machine; it has the pressure files.
  public let unified: String?

  /// Finds the directories; nil when the cpu controller has no mounted hierarchy, or the process
  /// is in its root, which is nobody's container.
  ///
  /// - Parameters:
  ///   - membership: The text of `/proc/PID/cgroup`.
  ///   - mounts: The text of `/proc/self/mountinfo`.
  public init?(membership: String, mounts: String) {
    let mounts = CgroupMount.parse(mounts)
    let groups = CgroupMembership.parse(membership)
    func directory(of controller: Substring) -> (path: String, root: String)? {
      guard let group = groups.first(where: { $0.controllers.contains(controller) }),
        let mount = mounts.first(where: { $0.controllers.contains(controller) })
      else { return nil }
      return mount.directory(for: group.path)
    }
    var unified: (path: String, root: String)?
    if let group = groups.first(where: { $0.controllers.isEmpty }),
      let mount = mounts.first(where: { $0.controllers.isEmpty })
    {
      unified = mount.directory(for: group.path)
    }

    if let found = directory(of: "cpu") {
      version = .v1
      (cpu, cpuRoot) = found
      cpuacct = directory(of: "cpuacct")?.path
      memory = directory(of: "memory")?.path
      freezer = directory(of: "freezer")?.path
      let own = unified.flatMap { $0.path == $0.root ? nil : $0.path }
      self.unified = own
      // perf_event is always on in the unified hierarchy unless v1 has mounted it.
      perf =
        mounts.contains { $0.controllers.contains("perf_event") }
        ? directory(of: "perf_event").flatMap { $0.path == $0.root ? nil : $0.path } : own
    } else if let found = unified {
      version = .v2
      (cpu, cpuRoot) = found
      cpuacct = nil
      memory = found.path
      freezer = nil
      self.unified = found.path
      perf = found.path
    } else {
      return nil
    }
    if cpu == cpuRoot { return nil }
  }

  /// The directories above the container in the cpu hierarchy, nearest first, without the root.
  public var ancestors: [String] {
    var found: [String] = []
    var path = Substring(cpu)
    while let slash = path.lastIndex(of: "/") {
      path = path[..<slash]
      guard path.utf8.count > cpuRoot.utf8.count else { break }
      found.append(String(path))
    }
    return found
  }

  /// Whether the last part of the cgroup path is the one that is expected.
  ///
  /// - Parameter name: What config.json asked for; nil for no expectation.
  /// - Returns: Whether some part of the path is that name: crun puts processes one level below.
  public func isNamed(_ name: String?) -> Bool {
    guard let name else { return true }
    return cpu.split(separator: "/").contains { $0 == name }
  }
}
