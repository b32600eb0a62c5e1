// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import Syscalls

/// A directory that is gone with everything in it when the test is over.
final class TemporaryDirectory {
  let path: String

  init() throws(SystemError) {
    var template = Array("/tmp/escra-live-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError.last("make", "a directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func opened() throws(SystemError) -> FileDescriptor {
    try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
  }

  func write(_ text: String, to name: String) throws(SystemError) {
    try FileDescriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC).write(text)
  }

  func read(_ name: String) throws(SystemError) -> String {
    let file = try FileDescriptor.open("\(path)/\(name)", O_RDONLY)
    return String(decoding: try file.readAll(), as: UTF8.self)
  }

  private static func empty(_ path: String) {
    guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY) else { return }
    for name in (try? directory.entries()) ?? [] {
      if unlinkat(directory.number, name, 0) == 0 { continue }
      empty(path + "/" + name)
      try? directory.remove(name, directory: true)
    }
  }

  deinit {
    Self.empty(path)
    rmdir(path)
  }
}

/// SplitMix64: the same random values in every run, so that a failure can be looked at.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  /// A short text of what is hard for files of lines: separators, and characters that Swift takes
  /// as one with their neighbour.
  mutating func text() -> String {
    let parts = [
      "a", "Z", "/", ".", " ", "=", "%", "%0A", "\n", "\r", "\r\n", "\0", "\t", "\\", "ä",
      "\u{301}",
      "\u{338}", "\u{600}", "\u{200d}", "\u{2028}", "日本", "👩‍👩‍👧", "🇩🇪",
    ]
    return (0..<Int.random(in: 0...6, using: &self)).map { _ in
      parts.randomElement(using: &self) ?? ""
    }.joined()
  }

  /// Any number, the extreme ones often.
  mutating func number() -> Int64 {
    switch UInt8.random(in: 0...7, using: &self) {
    case 0: .max
    case 1: .min
    case 2: Int64.random(in: -2...2, using: &self)
    case 3: Int64.random(in: 1...1_000_000, using: &self)
    default:
      Int64.random(in: .min ... .max, using: &self) >> Int64.random(in: 0...63, using: &self)
    }
  }
}

/// Whether something comes true, within what a crowded machine takes.
func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = monotonicNow() + 10_000_000_000
  while monotonicNow() < deadline {
    if condition() { return true }
    usleep(500)
  }
  return condition()
}

/// A process of the test's: Python, which says a line when it is ready and ends with its input.
final class Helper {
  let pid: pid_t
  private let input, output: FileDescriptor

  /// Runs a script that prints a line; nil where there is no Python.
  init?(_ script: String, _ arguments: String...) {
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
  var hasEnded: Bool { waitpid(pid, nil, WNOHANG) == pid }

  deinit {
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
  }
}
