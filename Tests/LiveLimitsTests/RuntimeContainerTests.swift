// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import LiveLimits
@testable import Syscalls

@Suite("Containers that low-level runtimes have started")
struct RuntimeContainerTests {
  private let root: TemporaryDirectory
  private let own: ProcessIdentity

  init() throws {
    root = try TemporaryDirectory()
    own = try #require(ProcessIdentity(pid: getpid()))
  }

  private func found(_ name: String, _ text: String) throws -> [RuntimeContainer] {
    mkdir(root.path + "/one", 0o700)
    try root.write(text, to: "one/" + name)
    return RuntimeContainer.all(below: root.path).filter { $0.root == root.path }
  }

  @Test("runc tells of them in state.json, crun in status")
  func forms() throws {
    let expected = RuntimeContainer(root: root.path, id: "one", process: own.pid)
    #expect(try found("status", #"{"pid": \#(own.pid)}"#) == [expected])
    #expect(
      try found(
        "state.json",
        #"{"init_process_pid": \#(own.pid), "init_process_start": \#(own.startTicks)}"#)
        == [expected])
  }

  @Test("an init that has ended, and whose pid another process has, is none")
  func reused() throws {
    let start = #""init_process_start": \#(own.startTicks - 1)"#
    #expect(
      try found(
        "state.json", #"{"init_process_pid": \#(own.pid), \#(start)}"#)
        == [])
    #expect(try found("state.json", #"{"init_process_pid": 0}"#) == [])
    #expect(try found("state.json", "{") == [])
  }
}
