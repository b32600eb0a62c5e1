// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import Quantities
@testable import Syscalls

let ms: Nanoseconds = 1_000_000

/// A directory that is gone with everything in it when the test is over.
final class TemporaryDirectory {
  let path: String

  init() throws(SystemError) {
    var template = Array("/tmp/escra-hooks-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError.last("make", "a directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    if let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY) {
      for name in (try? directory.entries()) ?? [] { try? directory.remove(name) }
    }
    rmdir(path)
  }
}

/// A child process, ended and reaped at the latest when the test is over; it has no stdio of ours.
final class Child {
  let pid: pid_t

  init(_ arguments: String...) throws(SystemError) {
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
  var state: Character? {
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

/// Whether a descriptor becomes readable in time.
func isReadable(
  _ descriptor: CInt, within time: Nanoseconds = 10_000 * ms
) -> Bool {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  let deadline = monotonicNow() + time
  while true {
    let left = max(0, deadline - monotonicNow())
    let ready = poll(&entry, 1, CInt((left + ms - 1) / ms))
    if ready >= 0 || errno != EINTR { return ready > 0 }
  }
}

/// Whether something comes true, within what a crowded machine takes.
func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = monotonicNow() + 10_000 * ms
  while monotonicNow() < deadline {
    if condition() { return true }
    usleep(500)
  }
  return condition()
}
