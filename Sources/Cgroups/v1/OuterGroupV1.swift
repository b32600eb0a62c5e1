// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

extension OuterGroupDirectory {
  /// Makes it in the memory hierarchy of cgroup v1; the low-level runtime makes it in the others, on
  /// the way to the container's own.
  func makeLegacy(_ limits: FirstLimits) throws(SystemError) {
    // A group left by a container of this id is empty. Any other group is not ours.
    guard Self.makeAll(path) || (errno == EEXIST && rmdir(path) == 0 && Self.makeAll(path)) else {
      throw SystemError.last(Self.makeStep, path)
    }
    guard let memory = limits.memory else { return }
    let writer = try MemoryWriter(directory: path, version: .v1, readOnly: false)
    try writer.set(memory, swap: limits.swap) { 0 }
  }

  /// Makes a directory and those above it.
  private static func makeAll(_ directory: String) -> Bool {
    if mkdir(directory, 0o755) != 0 {
      guard errno == ENOENT, let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/")),
        makeAll(String(directory[..<slash])) || errno == EEXIST, mkdir(directory, 0o755) == 0
      else { return false }
    }
    chmod(directory, 0o755)
    return true
  }

  /// - Returns: Whether it is gone from all hierarchies of cgroup v1.
  static func removeLegacy(_ group: String) -> Bool {
    let mounts = CgroupMount.parse(
      FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? "")
    var isGone = true
    for mount in mounts {
      guard let directory = mount.directory(for: group[...])?.path else { continue }
      if rmdir(directory) != 0, errno != ENOENT, errno != EROFS { isGone = false }
    }
    return isGone
  }
}
