// SPDX-License-Identifier: Apache-2.0
internal import OCISpec
package import Quantities

/// Where the low-level runtime will make a container's group, as far as can be known before: from then on
/// it is where it was found.
package enum ExpectedGroup {
  /// The low-level runtimes whose ways are known, the preferred one first.
  package static let makers = ["runc", "crun"]

  /// Says where, for a path that the low-level runtime makes itself.
  ///
  /// - Parameters:
  ///   - cgroupsPath: linux.cgroupsPath of config.json; empty for none.
  ///   - id: The container's id.
  ///   - own: The caller's group.
  ///   - version: The interface of the hierarchy.
  ///   - maker: The low-level runtime, as ``maker(_:)`` has it.
  /// - Returns: The path from the root of the hierarchy.
  package static func path(
    _ cgroupsPath: String, id: String, own: String, _ version: CgroupVersion, maker: String? = nil
  ) -> String {
    if cgroupsPath.utf8.first == UInt8(ascii: "/") { return cgroupsPath }
    // runc takes such a path from its own group; on cgroup v2, where a group with processes has no
    // others with limits in it, from the one above. crun takes it from the root.
    let above =
      switch version {
      case .v1: own
      case .v2: maker == "crun" ? "/" : parent(of: own)
      }
    return (above == "/" ? "/" : above + "/") + (cgroupsPath.isEmpty ? id : cgroupsPath)
  }

  /// The same where systemd makes it.
  ///
  /// - Parameters:
  ///   - cgroupsPath: "SLICE:PREFIX:NAME"; each may be empty, and so may all of it.
  ///   - unit: The scope's name.
  ///   - version: The interface of the hierarchy. Slices exist on cgroup v2 alone.
  /// - Returns: The path from the root of the hierarchy.
  package static func systemdPath(
    _ cgroupsPath: String, unit: String, _ version: CgroupVersion
  ) -> String {
    guard version == .v2 else { return "/" + unit }
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
  package static func unitWithoutPath(id: String, runtime: String) -> String {
    "\(maker(runtime) ?? "runc")-\(id).scope"
  }

  /// The name of a low-level runtime whose ways are known.
  ///
  /// - Parameter runtime: Its path.
  /// - Returns: nil for another one.
  package static func maker(_ runtime: String) -> String? {
    let name = runtime.split(separator: "/").last ?? ""
    return makers.first { name.utf8.starts(with: $0.utf8) }
  }

  /// `linux.cgroupsPath` that names the place where the low-level runtime would put a container of cgroup
  /// v2 whose config.json names no absolute one.
  ///
  /// - Parameters:
  ///   - cgroupsPath: What config.json has; empty for none.
  ///   - id: The container's id.
  ///   - isSystemds: Whether the runtime was told to ask systemd.
  ///   - runtime: Its path.
  ///   - own: The caller's group.
  /// - Returns: nil if it is not known, or if the runtime refuses what config.json has.
  package static func named(
    _ cgroupsPath: String, id: String, isSystemds: Bool, runtime: String, own: String
  ) -> String? {
    guard let maker = maker(runtime) else { return nil }
    if isSystemds { return cgroupsPath.isEmpty ? "system.slice:\(maker):\(id)" : nil }
    return path(cgroupsPath, id: id, own: own, .v2, maker: maker)
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
