// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Syscalls

/// What the release binary, named by ESCRA_RUNC_BINARY, does in an empty root directory: no /proc,
/// no shared library, nothing but itself and a runtime that prints its arguments.
@Suite(.enabled(if: releaseBinary != nil && getuid() == 0, "needs root and ESCRA_RUNC_BINARY"))
struct ReleaseBinaryTests {
  @Test func `starts without proc and passes every byte of its arguments on`() throws {
    let root = try EmptyRoot()
    defer { root.remove() }
    let odd: [[UInt8]] = [Array("--root=".utf8) + [0xFF, 0xFE], Array("state".utf8), [], [0xC3]]
    let own = [Array("--escra-config".utf8), Array("/x".utf8), Array("--escra-policy=strict".utf8)]
    let (code, output) = try root.run(own + odd)
    #expect(code == 0)
    #expect(output == ([Array("/usr/bin/runc".utf8)] + odd).flatMap { $0 + [0x0A] })
  }

  @Test func `starts without proc and says its version behind the runtime's`() throws {
    let root = try EmptyRoot()
    defer { root.remove() }
    let (code, output) = try root.run([Array("--version".utf8)])
    #expect(code == 0)
    #expect(
      String(decoding: output, as: UTF8.self)
        == "/usr/bin/runc\n--version\nescra-runc version \(EscraVersion.current)\n")
  }

  @Test func `without a runtime it fails with one line in the log and the same on stderr`() throws {
    let root = try EmptyRoot()
    defer { root.remove() }
    unlink(root.path + "/usr/bin/runc")
    let (code, output) = try root.run(["--log", "/log", "state", "c"].map { Array($0.utf8) })
    #expect(code == 1)
    let sentence = String(decoding: output, as: UTF8.self).dropLast()
    #expect(
      sentence.hasPrefix("escra-runc: found no low-level runtime; tried /usr/bin/runc (ENOENT)"))
    let log = try FileDescriptor.open(root.path + "/log", O_RDONLY)
    let line = String(decoding: try log.readAll(), as: UTF8.self)
    let message = sentence.split(separator: "\"", omittingEmptySubsequences: false)
      .joined(separator: #"\""#)
    #expect(line.hasPrefix(#"{"level":"error","msg":"\#(message)","time":""#))
    #expect(line.hasSuffix("Z\"}\n"))
    #expect(line.split(separator: "\n").count == 1)
  }
}

private let releaseBinary = getenv("ESCRA_RUNC_BINARY").map { String(cString: $0) }

/// A root directory with two static programs in it.
private struct EmptyRoot {
  let path: String

  init() throws {
    path = "/tmp/escra-root.\(getpid()).\(monotonicNow())"
    for directory in ["", "/usr", "/usr/bin"] {
      try retrying("make", directory) { mkdir(path + directory, 0o755) }
    }
    // By another process: what a test beside this one forks meanwhile would hold the file open for
    // writing, and execve fails with ETXTBSY.
    let copy = ["cp", releaseBinary ?? "", path + "/escra-runc"]
    #expect(try execute(copy.map { Array($0.utf8) }, output: "/dev/null") == 0)
    try FileDescriptor.open(path + "/stub.c", O_WRONLY | O_CREAT).write(
      """
      #include <stdio.h>
      int main(int count, char **arguments) {
          for (int i = 0; i < count; i++) puts(arguments[i]);
          return 0;
      }
      """)
    let compile = ["cc", "-static", "-o", path + "/usr/bin/runc", path + "/stub.c"]
    #expect(try execute(compile.map { Array($0.utf8) }, output: "/dev/null") == 0)
  }

  /// Runs escra-runc in here; stdout and stderr end up in one file.
  func run(_ arguments: [[UInt8]]) throws -> (code: CInt, output: [UInt8]) {
    let output = path + "/output"
    let command = ["chroot", path, "/escra-runc"].map { Array($0.utf8) } + arguments
    let code = try execute(command, output: output)
    return (code, try FileDescriptor.open(output, O_RDONLY).readAll())
  }

  func remove() {
    for file in ["/usr/bin/runc", "/escra-runc", "/stub.c", "/output", "/log"] {
      unlink(path + file)
    }
    for directory in ["/usr/bin", "/usr", ""] { rmdir(path + directory) }
  }
}

/// Runs a program found in PATH, with stdout and stderr in a file, and returns its exit code.
private func execute(_ command: [[UInt8]], output: String) throws -> CInt {
  var arguments: [UnsafeMutablePointer<CChar>?] = command.map { word in
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: word.count + 1)
    for (index, byte) in (word + [0]).enumerated() { copy[index] = CChar(bitPattern: byte) }
    return copy
  }
  arguments.append(nil)
  defer { arguments.forEach { $0?.deallocate() } }
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  posix_spawn_file_actions_adddup2(&actions, 1, 2)
  var pid: pid_t = 0
  let name = String(decoding: command[0], as: UTF8.self)
  let result = posix_spawnp(&pid, name, &actions, nil, arguments, environ)
  if result != 0 { throw SystemError("start", name, errno: result) }
  var status: CInt = 0
  try retrying("wait for", name) { waitpid(pid, &status, 0) }
  return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
}
