// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// Puts bytes in the place of standard input, for the program that this process becomes.
///
/// An anonymous file, memfd_create(2): nothing has to be removed, and it does not block.
///
/// - Parameter bytes: What descriptor 0 will give.
/// - Throws: ``SystemError``.
package func replaceStandardInput(with bytes: [UInt8]) throws(SystemError) {
  let file = FileDescriptor(
    owning: try retrying("make", "an anonymous file") {
      escra_anonymous_file("escra-runc")
    })
  try file.write(bytes)
  try retrying("rewind", "an anonymous file") { lseek(file.number, 0, SEEK_SET) }
  try retrying("replace", "standard input") { dup2(file.number, STDIN_FILENO) }
}
