// SPDX-License-Identifier: Apache-2.0
package import Glibc
internal import Syscalls

/// A process of the test's: Python, which says a line when it is ready and ends with its input.
package final class Helper {
  /// Its process id.
  package let pid: pid_t
  private let input, output: FileDescriptor

  /// Runs a script that prints a line; nil where there is no Python.
  package init?(_ script: String, _ arguments: String...) {
    let python = "/usr/bin/python3"
    var ends: [[Int32]] = [[0, 0], [0, 0]]
    guard access(python, X_OK) == 0, pipe(&ends[0]) == 0, pipe(&ends[1]) == 0 else { return nil }
    // The other ends would hold up the end of a helper of another test.
    for number in [ends[0][1], ends[1][0]] { _ = fcntl(number, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[0][0], 0)
    posix_spawn_file_actions_adddup2(&actions, ends[1][1], 1)
    let last = "\nprint(flush=True); import sys; sys.stdin.read()"
    var words: [UnsafeMutablePointer<CChar>?] =
      ([python, "-c", script + last] + arguments).map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    guard posix_spawn(&pid, python, &actions, nil, &words, nil) == 0 else { return nil }
    self.pid = pid
    close(ends[0][0])
    close(ends[1][1])
    input = FileDescriptor(owning: ends[0][1])
    output = FileDescriptor(owning: ends[1][0])
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { _ = try? output.read(into: $0) }
  }

  /// Whether it has been killed.
  package var hasEnded: Bool { waitpid(pid, nil, WNOHANG) == pid }

  deinit {
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
  }
}
