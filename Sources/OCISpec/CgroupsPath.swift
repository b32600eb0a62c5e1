// SPDX-License-Identifier: Apache-2.0

/// Where a low-level runtime makes a container's cgroup, as far as config.json says it.
///
/// `linux.cgroupsPath` is a path or, where systemd is asked to make the group, SLICE:PREFIX:NAME
/// (runc's docs/systemd.md, crun(1)).
package struct CgroupsPath: Equatable, Sendable {
  /// What the group is called, without what the runtime puts before it on its own account.
  package let name: String
  /// The path from the hierarchies' root; nil where that depends on the caller.
  package let path: String?
  /// What it asks systemd for; nil where the runtime makes the group itself.
  package let unit: Unit?

  /// A unit of systemd's: SLICE:PREFIX:NAME.
  package struct Unit: Equatable, Sendable {
    /// The slice that it is to be in.
    package let slice: String
    /// What the runtime puts before the name.
    package let prefix: String
    /// The name, without what the runtime adds.
    package let name: String

    /// Makes a unit.
    package init(slice: String, prefix: String, name: String) {
      (self.slice, self.prefix, self.name) = (slice, prefix, name)
    }

    /// As `linux.cgroupsPath` has it.
    package var text: String { "\(slice):\(prefix):\(name)" }
  }

  /// Reads it.
  ///
  /// - Parameters:
  ///   - text: `linux.cgroupsPath`; nil or empty where config.json has none.
  ///   - id: The container's id, after which the group is called then.
  ///   - isSystemds: Whether the runtime was told to ask systemd (`--systemd-cgroup`).
  package init(_ text: String?, id: String, isSystemds: Bool) {
    guard let text, !text.isEmpty else {
      // runc-ID.scope, crun-ID.scope.
      (name, path, unit) = (isSystemds ? id + ".scope" : id, nil, nil)
      return
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard isSystemds, parts.count == 3 else {
      name = text.split(separator: "/").last.map { String($0) } ?? id
      path = text.utf8.first == UInt8(ascii: "/") ? text : nil
      unit = nil
      return
    }
    let unit = Unit(
      slice: parts[0].isEmpty ? "system.slice" : String(parts[0]), prefix: String(parts[1]),
      name: String(parts[2]))
    let prefix = unit.prefix.isEmpty ? "" : unit.prefix + "-"
    let name = unit.name.hasSuffix(".slice") ? unit.name : prefix + unit.name + ".scope"
    self.name = name
    self.unit = unit
    path = Self.path(ofSlice: unit.slice[...]).map { $0 + "/" + name }
  }

  /// Where systemd has a slice: "a-b.slice" is in "a.slice" (systemd.slice(5)).
  ///
  /// - Parameter slice: Its name.
  /// - Returns: The path; nil for the name of something else.
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
