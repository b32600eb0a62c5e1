// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

extension MemoryCalls {
  /// Listens to a group of cgroup v2.
  ///
  /// - Parameters:
  ///   - directory: The group's directory.
  ///   - isHierarchical: Whether to hear what happens in the groups below, too.
  /// - Throws: ``SystemError``: ENOENT for a group that is gone, or without the memory controller.
  package init(unified directory: String, isHierarchical: Bool = false) throws(SystemError) {
    // Before Linux 5.2 there is only the file that counts the groups below, too.
    let path = directory + "/memory.events"
    if !isHierarchical, let local = FileDescriptor.openIfPossible(path + ".local", O_RDONLY) {
      use = local
    } else {
      use = try FileDescriptor.open(path, O_RDONLY)
    }
    outOfMemory = .none
  }
}
