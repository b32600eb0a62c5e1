// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// One line of `/proc/PID/cgroup` (cgroups(7)): a group in one hierarchy.
struct CgroupMembership {
  /// The hierarchy's controllers, or `name=systemd` and the like; empty for the unified one.
  let controllers: [Substring]
  /// The group, from the hierarchy's root as this cgroup namespace sees it.
  let path: Substring

  static func parse(_ text: String) -> [CgroupMembership] {
    text.split(at: "\n").compactMap { line in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return nil }
      return CgroupMembership(controllers: fields[1].split(separator: ","), path: fields[2])
    }
  }
}

/// One mounted hierarchy: a line of `/proc/self/mountinfo` whose type is cgroup or cgroup2.
public struct CgroupMount {
  /// The hierarchy's controllers, or `name=systemd` and the like, with a v1 mount's own flags beside
  /// them; empty for the unified one.
  public let controllers: [Substring]
  /// Which part of the hierarchy is mounted.
  let root: String
  /// Where.
  public let point: String

  /// The group's directory and the hierarchy's top below this mount, which may show a part only.
  func directory(for group: Substring) -> (path: String, root: String)? {
    let top = root == "/" ? "" : root
    guard group.utf8.starts(with: top.utf8) else { return nil }
    let rest = Substring(group.utf8.dropFirst(top.utf8.count))
    // "..": outside of our cgroup namespace, and not below this mount (cgroup_namespaces(7)).
    guard rest.isEmpty || rest.utf8.first == UInt8(ascii: "/"), !rest.split(at: "/").contains("..")
    else { return nil }
    return (rest == "/" ? point : point + rest, point)
  }

  /// Finds them in the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
  public static func parse(_ mountinfo: String) -> [CgroupMount] {
    mountinfo.split(at: "\n").compactMap { line in
      // The source of a mount may be the empty string.
      let fields = line.split(at: " ", omittingEmptySubsequences: false)
      guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 3, dash > 5,
        fields[dash + 1] == "cgroup" || fields[dash + 1] == "cgroup2"
      else { return nil }
      return CgroupMount(
        controllers: fields[dash + 1] == "cgroup2" ? [] : fields[dash + 3].split(separator: ","),
        root: unescape(fields[3]), point: unescape(fields[4]))
    }
  }

  /// Whether groups of this machine have their memory in the unified hierarchy, and so a line in
  /// memory.high: a controller is in one hierarchy at a time.
  public static var hasUnifiedMemory: Bool {
    hasUnifiedMemory(parse((try? FileDescriptor.text(of: "/proc/self/mountinfo")) ?? ""))
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

extension StringProtocol where SubSequence == Substring {
  /// Splits wherever the separator is, also where Swift takes it as one Character with what is
  /// beside it: a carriage return before a newline, a combining mark behind a slash.
  func split(at separator: Unicode.Scalar, omittingEmptySubsequences: Bool = true) -> [Substring] {
    self[...].unicodeScalars.split(
      separator: separator, omittingEmptySubsequences: omittingEmptySubsequences
    ).map { Substring($0) }
  }
}
