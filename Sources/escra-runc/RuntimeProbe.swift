// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// Looks at paths for ``LowLevelRuntime``, and knows this program when it meets it.
///
/// Installed in runc's place, by a link or as a copy, this program must not find itself: it would
/// execute itself for ever. A copy is known by its size, which is that of no other program to the
/// byte.
struct RuntimeProbe {
  private let ourselves: FileStatus?

  /// Looks up what this program is.
  ///
  /// Without /proc that is not known, and every path is believed.
  init() { ourselves = FileStatus.ifThere("/proc/self/exe") }

  /// What a path is: stat(2), then access(2), which also knows of file systems mounted noexec.
  func candidate(_ path: String) -> LowLevelRuntime.Candidate {
    let status: FileStatus
    do throws(SystemError) {
      status = try FileStatus.following(path)
    } catch {
      return error.errno == ENOENT || error.errno == ENOTDIR
        ? .missing : .unusable(error.symbol)
    }
    guard status.isRegularFile else { return .unusable("not a regular file") }
    guard status.identity != ourselves?.identity else { return .unusable("escra-runc itself") }
    guard status.size != ourselves?.size else { return .unusable("a copy of escra-runc") }
    guard access(path, X_OK) == 0 else { return .unusable("not executable") }
    return .usable
  }
}
