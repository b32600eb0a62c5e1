// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import OCISpec
internal import Quantities
internal import Syscalls

/// A program of the machine that is asked for something.
enum Program {
  /// Where programs are, whatever PATH leaves out: `su` has no /usr/sbin in it.
  private static let directories = [
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
  ]

  /// The path of a program; nil where it is not installed.
  static func find(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    let searched = path.split(separator: ":").filter { $0.utf8.first == UInt8(ascii: "/") }
      .map(String.init)
    return (searched + directories).lazy.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  /// What came of it.
  struct Result {
    /// 0 for success; -1 where it could not be started, or was killed.
    let code: Int32
    let output: String
    let errors: String

    /// The last line that it complained in.
    var complaint: String {
      errors.split(separator: "\n").last.map { Table.printable(String($0)) } ?? "exit code \(code)"
    }
  }

  /// Runs a program to its end, at most for ten seconds.
  ///
  /// - Parameters:
  ///   - path: The program.
  ///   - arguments: Its arguments, without its name.
  /// - Returns: What came of it.
  static func run(_ path: String, _ arguments: [String]) -> Result {
    var pipes: [[CInt]] = []
    for _ in 0..<2 {
      var ends: [CInt] = [-1, -1]
      guard pipe(&ends) == 0 else {
        return Result(code: -1, output: "", errors: "there is no descriptor for it")
      }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      pipes.append(ends)
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, pipes[0][1], 1)
    posix_spawn_file_actions_adddup2(&actions, pipes[1][1], 2)
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let isStarted = posix_spawn(&pid, path, &actions, nil, &words, environ) == 0
    for ends in pipes { close(ends[1]) }
    let texts = isStarted ? contents(pipes.map { $0[0] }, of: pid) : ["", ""]
    for ends in pipes { close(ends[0]) }
    var status: CInt = 0
    guard isStarted, waitpid(pid, &status, 0) == pid, status & 0x7f == 0 else {
      return Result(
        code: -1, output: texts[0], errors: "\(path) could not be started, or was killed")
    }
    return Result(code: status >> 8 & 0xff, output: texts[0], errors: texts[1])
  }

  /// Starts a program that goes on, with no signal blocked.
  ///
  /// - Parameters:
  ///   - path: The program.
  ///   - arguments: Its arguments, without its name.
  ///   - output: Its standard output.
  ///   - errors: A file for its standard error.
  /// - Returns: Its pid; nil where it could not be started.
  static func spawn(
    _ path: String, _ arguments: [String], output: CInt, errors: String
  ) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    return posix_spawn(&pid, path, &actions, &attributes, &words, environ) == 0 ? pid : nil
  }

  /// Reads pipes to their ends; kills the program after ten seconds.
  private static func contents(_ pipes: [CInt], of pid: pid_t) -> [String] {
    let deadline = monotonicNow() + 10_000_000_000
    var texts = pipes.map { _ in [UInt8]() }
    var open = Set(pipes.indices)
    var buffer = [UInt8](repeating: 0, count: 65536)
    while !open.isEmpty {
      var entries = pipes.indices.map {
        pollfd(fd: open.contains($0) ? pipes[$0] : -1, events: Int16(POLLIN), revents: 0)
      }
      let left = (deadline - monotonicNow()) / 1_000_000
      if left <= 0 {
        kill(pid, SIGKILL)
        break
      }
      guard poll(&entries, nfds_t(entries.count), CInt(left)) > 0 else { continue }
      for index in open where entries[index].revents != 0 {
        let count = read(pipes[index], &buffer, buffer.count)
        if count > 0 { texts[index] += buffer[..<count] } else { open.remove(index) }
      }
    }
    return texts.map { String(decoding: $0, as: UTF8.self) }
  }
}

/// A process of an engine's daemon.
struct DaemonProcess {
  let pid: Int32
  /// Its arguments, its name first.
  let arguments: [String]
  /// When it started, in nanoseconds since 1970.
  let started: Nanoseconds

  /// The processes of a program that have our /etc: those of containers have another one.
  static func all(_ name: String) -> [DaemonProcess] {
    let ours = FileStatus.ifThere("/etc")?.identity
    let names = FileDescriptor.entriesIfReadable(of: "/proc")
    return names.compactMap { Int32($0) }.sorted().compactMap { pid in
      guard let bytes = FileDescriptor.bytesIfReadable(of: "/proc/\(pid)/cmdline"),
        let identity = ProcessIdentity(pid: pid)
      else { return nil }
      let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      guard words.first?.split(separator: "/").last.map(String.init) == name,
        FileStatus.ifThere("/proc/\(pid)/root/etc")?.identity == ours
      else { return nil }
      return DaemonProcess(pid: pid, arguments: words, started: Self.time(of: identity))
    }
  }

  /// The times of /proc/PID itself are those of its inode, which comes and goes.
  private static func time(of process: ProcessIdentity) -> Nanoseconds {
    let age = ProcessIdentity.nowTicks() - process.startTicks
    return wallClockNow() - age * 1_000_000_000 / Int64(sysconf(CInt(_SC_CLK_TCK)))
  }

  /// The value of one of its flags.
  func value(of flags: [String]) -> String? {
    for (index, word) in arguments.enumerated() {
      if flags.contains(word), index + 1 < arguments.count { return arguments[index + 1] }
      for flag in flags where word.hasPrefix(flag + "=") {
        return String(word.dropFirst(flag.count + 1))
      }
    }
    return nil
  }
}
