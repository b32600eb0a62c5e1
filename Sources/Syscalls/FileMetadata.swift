// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

extension FileDescriptor {
  /// Gives a name of this directory a second name in it: linkat(2).
  ///
  /// A symbolic link is itself linked, not what it points to.
  package func link(
    _ name: UnsafePointer<CChar>, to second: UnsafePointer<CChar>
  ) throws(SystemError) {
    try retrying("link", String(cString: name)) { linkat(number, name, number, second, 0) }
  }

  /// Sets the open file's owner and then its permissions: fchown(2) clears set-id bits, so the
  /// mode comes last (fchmod(2)).
  package func setOwnerAndMode(of status: FileStatus, subject: String) throws(SystemError) {
    try retrying("change the owner of", subject) { fchown(number, status.user, status.group) }
    try retrying("change the mode of", subject) { fchmod(number, status.mode & 0o7777) }
  }

  /// Gives the open file the access and modification times of another: futimens(2).
  package func copyTimes(
    from other: borrowing FileDescriptor, subject: String
  ) throws(SystemError) {
    var status = stat()
    try retrying("stat", subject) { fstat(other.number, &status) }
    try retrying("set the times of", subject) {
      withUnsafeBytes(of: (status.st_atim, status.st_mtim)) {
        futimens(number, $0.assumingMemoryBound(to: timespec.self).baseAddress)
      }
    }
  }
}
