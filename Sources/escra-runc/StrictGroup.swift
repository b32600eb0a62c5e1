// SPDX-License-Identifier: Apache-2.0

/// Where the low-level runtime will make a container's cpuset group, as far as can be known before:
/// from then on it is where it was found.
enum StrictGroup {
  /// Says where, for a path that the low-level runtime makes itself.
  ///
  /// - Parameters:
  ///   - cgroupsPath: linux.cgroupsPath of config.json; empty for none.
  ///   - id: The container's id.
  ///   - own: The caller's group.
  ///   - isUnified: Whether the hierarchy is cgroup v2.
  /// - Returns: The path from the root of the hierarchy.
  static func path(
    _ cgroupsPath: String, id: String, own: String, isUnified: Bool
  ) -> String {
    if cgroupsPath.utf8.first == UInt8(ascii: "/") { return cgroupsPath }
    // The low-level runtime takes such a path from its own group; on cgroup v2, where a group with
    // processes has no others with limits in it, from the one above.
    let above = isUnified ? parent(of: own) : own
    return (above == "/" ? "/" : above + "/") + (cgroupsPath.isEmpty ? id : cgroupsPath)
  }

  /// The same where systemd makes it.
  ///
  /// - Parameters:
  ///   - cgroupsPath: "SLICE:PREFIX:NAME"; each may be empty, and so may all of it.
  ///   - unit: The scope's name.
  /// - Returns: The path from the root of the hierarchy.
  static func systemdPath(_ cgroupsPath: String, unit: String) -> String {
    let slice = cgroupsPath.split(separator: ":", omittingEmptySubsequences: false).first
    let name = slice.map { String($0) } ?? ""
    return expand(name.isEmpty ? "system.slice" : name) + "/" + unit
  }

  /// The scope that the low-level runtime asks systemd for where config.json has no cgroupsPath:
  /// runc and crun put their own names before the id.
  ///
  /// - Parameters:
  ///   - id: The container's id.
  ///   - runtime: The path of the low-level runtime.
  /// - Returns: The scope's name.
  static func unitWithoutPath(id: String, runtime: String) -> String {
    let name = runtime.split(separator: "/").last ?? ""
    let maker = LowLevelRuntime.names.first { name.utf8.starts(with: $0.utf8) } ?? "runc"
    return "\(maker)-\(id).scope"
  }

  /// "a-b.slice" is in "a.slice" (systemd.slice(5)), and "-.slice" is the root.
  private static func expand(_ slice: String) -> String {
    guard slice.hasSuffix(".slice"), slice != "-.slice" else { return "" }
    var path = ""
    var prefix = ""
    for part in slice.dropLast(6).split(separator: "-", omittingEmptySubsequences: false) {
      prefix += (prefix.isEmpty ? "" : "-") + part
      path += "/" + prefix + ".slice"
    }
    return path
  }

  private static func parent(of group: String) -> String {
    var rest = Substring(group)
    while let last = rest.popLast(), last != "/" {}
    return rest.isEmpty ? "/" : String(rest)
  }
}
