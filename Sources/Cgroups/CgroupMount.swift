// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

/// One line of `/proc/PID/cgroup` (cgroups(7)): a group in one hierarchy.
package struct CgroupMembership {
  /// The hierarchy's controllers, or `name=systemd` and the like; empty for the unified one.
  package let controllers: [Substring]
  /// The group, from the hierarchy's root as this cgroup namespace sees it.
  package let path: Substring

  /// Reads the text of `/proc/PID/cgroup` (cgroups(7)).
  package static func parse(_ text: String) -> [CgroupMembership] {
    text.split(at: "\n").compactMap { line in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return nil }
      return CgroupMembership(controllers: fields[1].split(separator: ","), path: fields[2])
    }
  }

  /// The hierarchies that a supervisor uses, beside the unified one.
  private static let used: [Substring] = [
    "cpu", "cpuacct", "memory", "freezer", "cpuset", "perf_event", "pids",
  ]

  /// The container's own groups, in the form of `/proc/PID/cgroup`: its init may have moved below
  /// them.
  ///
  /// - Parameters:
  ///   - text: The text of init's `/proc/PID/cgroup`.
  ///   - path: The cgroup path that config.json asked for, or its last part; nil for no expectation.
  /// - Returns: One line for each hierarchy that a supervisor uses.
  package static func own(in text: String, below path: String?) -> String {
    let parts = path?.split(at: "/") ?? []
    return parse(text).compactMap { group in
      guard group.controllers.isEmpty || group.controllers.contains(where: { used.contains($0) })
      else { return nil }
      let own = cut(group.path, behind: parts)
      return "0:\(group.controllers.joined(separator: ",")):\(own)\n"
    }.joined()
  }

  /// The same where no process tells: the group of one path in every hierarchy.
  package static func own(path: String) -> String {
    used.map { "0:\($0):\(path)\n" }.joined() + "0::\(path)\n"
  }

  /// A path up to the first place that has all of the parts; the whole path where none has.
  private static func cut(_ path: Substring, behind parts: [Substring]) -> String {
    let all = path.split(at: "/")
    guard !parts.isEmpty, all.count >= parts.count,
      let first = (0...(all.count - parts.count)).first(where: {
        all[$0..<($0 + parts.count)].elementsEqual(parts)
      })
    else { return String(path) }
    return "/" + all[..<(first + parts.count)].joined(separator: "/")
  }
}

/// One mounted hierarchy: a line of `/proc/self/mountinfo` whose type is cgroup or cgroup2.
package struct CgroupMount {
  /// The hierarchy's controllers, or `name=systemd` and the like, with a v1 mount's own flags beside
  /// them; empty for the unified one.
  package let controllers: [Substring]
  /// Which part of the hierarchy is mounted.
  package let root: String
  /// Where.
  package let point: String
  /// Whether nothing can be written through it.
  package let isReadOnly: Bool

  /// The group's directory and the hierarchy's top below this mount, which may show a part only.
  package func directory(for group: Substring) -> (path: String, root: String)? {
    let top = root == "/" ? "" : root
    guard group.utf8.starts(with: top.utf8) else { return nil }
    let rest = Substring(group.utf8.dropFirst(top.utf8.count))
    // "..": outside of our cgroup namespace, and not below this mount (cgroup_namespaces(7)).
    guard rest.isEmpty || rest.utf8.first == UInt8(ascii: "/"), !rest.split(at: "/").contains("..")
    else { return nil }
    return (rest == "/" ? point : point + rest, point)
  }

  /// The controllers that groups below this mount can have; nil on cgroup v1, where the mount's options
  /// say it.
  package var availableControllers: [Substring]? {
    CgroupFile.controllers.text(of: point, .v2).map { $0.split { $0 == " " || $0 == "\n" } }
  }

  /// Moves this process into the hierarchy's root, if it may.
  package func enterRoot() {
    // "0" is the writer itself. Refused without privilege: then it stays where it is.
    try? FileDescriptor.open(.processes, of: point, .v2, O_WRONLY).write("0")
  }

  /// Finds them in the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
  ///
  /// Those that something else is mounted over are left out. A hierarchy may be mounted more than
  /// once: those that can be written come first.
  package static func parse(_ mountinfo: String) -> [CgroupMount] {
    var all: [MountPoint] = []
    var found: [(mount: CgroupMount, point: MountPoint)] = []
    for line in mountinfo.split(at: "\n") {
      // The source of a mount may be the empty string.
      let fields = line.split(at: " ", omittingEmptySubsequences: false)
      guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 3, dash > 5 else {
        continue
      }
      let point = MountPoint(id: fields[0], parent: fields[1], path: fields[4])
      all.append(point)
      guard fields[dash + 1] == "cgroup" || fields[dash + 1] == "cgroup2" else { continue }
      let options = fields[dash + 3].split(separator: ",")
      let mount = CgroupMount(
        controllers: fields[dash + 1] == "cgroup2" ? [] : options,
        root: unescape(fields[3]), point: unescape(fields[4]),
        isReadOnly: options.contains("ro") || fields[5].split(separator: ",").contains("ro"))
      found.append((mount, point))
    }
    let mounts = found.filter { !$0.point.isCovered(among: all) }.map(\.mount)
    return mounts.filter { !$0.isReadOnly } + mounts.filter(\.isReadOnly)
  }

  /// Finds a hierarchy that can only be read.
  ///
  /// - Parameter controller: Whose hierarchy; without one of its own that is the unified one.
  /// - Returns: Where it is mounted; nil where it can be written, or is mounted nowhere.
  package static func readOnlyPoint(of controller: Substring) -> String? {
    let all = parse(FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? "")
    let found =
      all.first { $0.controllers.contains(controller) } ?? all.first { $0.controllers.isEmpty }
    return found?.isReadOnly == true ? found?.point : nil
  }

  /// Whether groups of this machine have their memory in the unified hierarchy, and so a line in
  /// memory.high: a controller is in one hierarchy at a time.
  package static var hasUnifiedMemory: Bool {
    hasUnifiedMemory(parse(FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? ""))
  }

  /// The same of CPU limits.
  package static var hasUnifiedCPU: Bool {
    let mounts = parse(FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? "")
    return hasUnifiedMemory(mounts) && !mounts.contains { $0.controllers.contains("cpu") }
  }

  static func hasUnifiedMemory(_ mounts: [CgroupMount]) -> Bool {
    mounts.contains { $0.controllers.isEmpty }
      && !mounts.contains { $0.controllers.contains("memory") }
  }

  /// Undoes mountinfo's octal escapes (`\040` for a space).
  private static func unescape(_ field: Substring) -> String {
    guard field.utf8.contains(UInt8(ascii: "\\")) else { return String(field) }
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

/// Where something is mounted, as far as it says what is to be seen there.
private struct MountPoint {
  let id: Substring
  let parent: Substring
  let path: Substring

  /// Whether a path walk ends in another mount before it comes to this one.
  func isCovered(among all: [MountPoint]) -> Bool {
    if all.contains(where: { $0.parent == id && $0.path == path && $0.id != id }) { return true }
    var step = self
    // A mount whose parent is not in the list is the root.
    while let above = all.first(where: { $0.id == step.parent && $0.id != step.id }) {
      let isHidden = all.contains {
        $0.parent == above.id && $0.id != step.id
          && ($0.path == above.path || step.path.utf8.starts(with: ($0.path + "/").utf8))
      }
      if isHidden { return true }
      step = above
    }
    return false
  }
}
