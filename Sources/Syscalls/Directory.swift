// SPDX-License-Identifier: Apache-2.0
internal import Glibc

extension FileDescriptor {
  /// The names in a directory, without "." and "..", in no order: readdir(3).
  ///
  /// - Throws: ``SystemError`` when the descriptor is no directory.
  package func entries() throws(SystemError) -> [String] { try list { _ in true } }

  /// The names of the directories in a directory, without "." and "..", in no order.
  ///
  /// By the type that comes with the name: procfs, sysfs, tmpfs and cgroupfs all say it.
  ///
  /// - Throws: ``SystemError`` when the descriptor is no directory.
  package func subdirectories() throws(SystemError) -> [String] {
    try list { $0 == UInt8(DT_DIR) }
  }

  private func list(_ isWanted: (UInt8) -> Bool) throws(SystemError) -> [String] {
    var names: [String] = []
    try forEachEntry { entry in
      guard isWanted(entry.pointee.d_type) else { return }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  private func forEachEntry(
    _ body: (UnsafeMutablePointer<dirent>) -> Void
  ) throws(SystemError) {
    // fdopendir takes the descriptor over, and the position is shared: open a second one.
    let second = try open(".", O_RDONLY | O_DIRECTORY)
    guard let stream = fdopendir(second.release()) else {
      throw SystemError.last("list", "descriptor \(number)")
    }
    defer { closedir(stream) }
    while let entry = readdir(stream) { body(entry) }
  }
}
