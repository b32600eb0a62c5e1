// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

/// An outer group as it is, or is going to be, on this machine.
package struct OuterGroupDirectory: Sendable {
  /// Its directory; on cgroup v1 that of the memory hierarchy.
  package let path: String
  /// The slice that it is, if systemd has made it.
  package let slice: String?
  /// Its path from the root of all hierarchies of cgroup v1, if it is in those.
  package let group: String?

  /// What fails where another process has a group of this name.
  static let makeStep = "make"
  static let startStep = "have systemd start"

  /// Makes one of what was written down of it.
  package init(path: String, slice: String?, group: String?) {
    (self.path, self.slice, self.group) = (path, slice, group)
  }

  /// Where a group is going to be.
  package init(_ group: OuterGroup, at path: String) {
    self.path = path
    slice = if case .slice(let slice) = group.kind { slice } else { nil }
    self.group = group.kind == .legacy ? group.path : nil
  }

  /// Makes it, with its first limits.
  ///
  /// - Parameters:
  ///   - id: The container's id, for people.
  ///   - top: Where its hierarchy is mounted.
  ///   - limits: The first limits.
  ///   - milliseconds: For how long systemd may take.
  /// - Throws: ``SystemError``; ``isAnothers(_:)`` says whether it was made before that.
  package func make(
    for id: String, below top: String, _ limits: FirstLimits, within milliseconds: Int32
  ) throws(SystemError) {
    if group != nil { return try makeLegacy(limits) }
    if let slice {
      try start(slice, for: id, limits, within: milliseconds)
    } else {
      try makeUnified(below: top)
    }
    try check()
    try write(limits)
  }

  /// Whether an error says that the group was not made: it is another process's.
  package static func isAnothers(_ error: SystemError) -> Bool {
    error.step == makeStep || error.step == startStep
  }

  /// Removes it, if there is no group in it.
  ///
  /// - Parameter milliseconds: For how long systemd may take.
  /// - Returns: Whether it is gone.
  package func remove(within milliseconds: Int32) -> Bool {
    if let group { return Self.removeLegacy(group) }
    guard let slice else { return rmdir(path) == 0 || errno == ENOENT }
    // systemd would end a scope in it.
    return !hasGroups && Self.stop(slice, within: milliseconds)
  }

  /// Whether there is a group in it.
  package var hasGroups: Bool {
    var status = stat()
    // A directory has a link for itself, one in its parent, and one for each in it.
    return stat(path, &status) == 0 && status.st_nlink > 2
  }
}
