// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

extension FileStatus {
  /// What stat(2) says of a path: of what a symbolic link leads to, not of the link.
  ///
  /// - Parameter path: The file; a relative path is taken from the working directory.
  /// - Returns: The status of the file that the path leads to.
  /// - Throws: ``SystemError`` with stat's errno.
  package static func following(
    _ path: UnsafePointer<CChar>
  ) throws(SystemError) -> FileStatus {
    var status = stat()
    try retrying("stat", String(cString: path)) {
      escra_fstatat(AT_FDCWD, path, &status, true)
    }
    return FileStatus(status)
  }
}
