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

  /// Finds the directories.
  ///
  /// - Parameters:
  ///   - membership: The text of `/proc/PID/cgroup`.
  ///   - mounts: The text of `/proc/self/mountinfo`.
  /// - Returns: nil when the cpu controller has no mounted hierarchy, or the process is in its
  ///   root, which is nobody's container.
  public init?(membership: String, mounts: String) {
    let mounts = Self.parse(mounts: mounts)
    var groups: [(controllers: [Substring], path: Substring)] = []
    for line in membership.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      groups.append((fields[1].split(separator: ","), fields[2]))
    }
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

  private struct Mount {
    let controllers: [Substring]
    let root: String
    let point: String

    /// The group's directory below this mount; a mount may show only a part of the hierarchy.
    func directory(for group: Substring) -> (path: String, root: String)? {
      guard root != "/" else {
        return (group == "/" ? point : point + group, point)
      }
      guard group == root || group.utf8.starts(with: (root + "/").utf8) else { return nil }
      return (point + group.dropFirst(root.count), point)
    }
  }

  private static func parse(mounts: String) -> [Mount] {
    var found: [Mount] = []
    for line in mounts.split(separator: "\n") where line.contains(" - cgroup") {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 3, dash > 5 else {
        continue
      }
      let type = fields[dash + 1]
      guard type == "cgroup" || type == "cgroup2" else { continue }
      // The super options of a v1 mount name its controllers among flags that match none.
      let controllers = type == "cgroup2" ? [] : fields[dash + 3].split(separator: ",")
      if type == "cgroup" && controllers.contains(where: { $0.utf8.starts(with: "name=".utf8) }) {
        continue
      }
      found.append(
        Mount(
          controllers: controllers, root: unescape(fields[3]), point: unescape(fields[4])))
    }
    return found
  }

  /// Undoes mountinfo's octal escapes (`\040` for a space).
  private static func unescape(_ field: Substring) -> String {
    guard field.contains("\\") else { return String(field) }
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
