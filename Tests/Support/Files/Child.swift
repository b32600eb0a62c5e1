// SPDX-License-Identifier: Apache-2.0
package import Glibc
package import Quantities
package import Syscalls

/// A child process, ended and reaped at the latest when the test is over; it has no stdio of ours.
package final class Child {
  /// Its process id.
  package let pid: pid_t

  /// Starts a program.
  package init(_ arguments: String...) throws(SystemError) {
    var argv = arguments.map { strdup($0) }
    argv.append(nil)
    defer { for argument in argv { free(argument) } }
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    var files = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&files)
    defer { posix_spawn_file_actions_destroy(&files) }
    for number in CInt(0)...2 {
      posix_spawn_file_actions_addopen(&files, number, "/dev/null", O_RDWR, 0)
    }
    var pid: pid_t = 0
    let failure = posix_spawn(&pid, arguments[0], &files, nil, &argv, &environment)
    guard failure == 0 else { throw SystemError("start", arguments[0], errno: failure) }
    self.pid = pid
  }

  /// The letter of its state, as /proc/PID/stat has it: "T" is stopped.
  package var state: Character? {
    guard let file = try? FileDescriptor.open("/proc/\(pid)/stat", O_RDONLY),
      let stat = try? file.contents(subject: "stat")
    else { return nil }
    return stat.split(separator: " ").dropFirst(2).first?.first
  }

  deinit {
    kill(pid, SIGKILL)
    var status: CInt = 0
    while waitpid(pid, &status, 0) == -1 && errno == EINTR {}
  }
}

/// Whether something comes true, within what a crowded machine takes.
package func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = monotonicNow() + 10_000_000_000
  while monotonicNow() < deadline {
    if condition() { return true }
    usleep(500)
  }
  return condition()
}

/// Whether a descriptor becomes readable in time.
package func isReadable(
  _ descriptor: CInt, within time: Nanoseconds = 10_000_000_000
) -> Bool {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  let deadline = monotonicNow() + time
  while true {
    let left = max(0, deadline - monotonicNow())
    let ready = poll(&entry, 1, CInt((left + 999_999) / 1_000_000))
    if ready >= 0 || errno != EINTR { return ready > 0 }
  }
}
