// SPDX-License-Identifier: Apache-2.0

/// Where a low-level runtime makes a container's cgroup, as far as config.json says it.
///
/// `linux.cgroupsPath` is a path or, where systemd is asked to make the group, SLICE:PREFIX:NAME
/// (runc's docs/systemd.md, crun(1)).
public struct CgroupsPath: Equatable, Sendable {
  /// What the group is called, without what the runtime puts before it on its own account.
  public let name: String
  /// The path from the hierarchies' root; nil where that depends on who calls.
  public let path: String?

  /// Reads it.
  ///
  /// - Parameters:
  ///   - text: `linux.cgroupsPath`; nil or empty where config.json has none.
  ///   - id: The container's id, after which the group is called then.
  ///   - isSystemds: Whether the runtime was told to ask systemd (`--systemd-cgroup`).
  public init(_ text: String?, id: String, isSystemds: Bool) {
    guard let text, !text.isEmpty else {
      // runc-ID.scope, crun-ID.scope.
      (name, path) = (isSystemds ? id + ".scope" : id, nil)
      return
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard isSystemds, parts.count == 3 else {
      name = text.split(separator: "/").last.map { String($0) } ?? id
      path = text.utf8.first == UInt8(ascii: "/") ? text : nil
      return
    }
    let unit = String(parts[2])
    let prefix = parts[1].isEmpty ? "" : parts[1] + "-"
    let name = unit.hasSuffix(".slice") ? unit : prefix + unit + ".scope"
    self.name = name
    path = Self.path(ofSlice: parts[0].isEmpty ? "system.slice" : parts[0]).map { $0 + "/" + name }
  }

  /// Where systemd has a slice: "a-b.slice" is in "a.slice" (systemd.slice(5)); nil for what is
  /// none.
  private static func path(ofSlice slice: Substring) -> String? {
    guard slice.hasSuffix(".slice") else { return nil }
    if slice == "-.slice" { return "" }
    var path = ""
    var level = ""
    for part in slice.dropLast(6).split(separator: "-", omittingEmptySubsequences: false) {
      if part.isEmpty { return nil }
      level += (level.isEmpty ? "" : "-") + part
      path += "/" + level + ".slice"
    }
    return path
  }
}
