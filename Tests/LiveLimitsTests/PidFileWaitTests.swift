// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

@Suite struct PidFileWaitTests {
  private let temporary: TemporaryDirectory
  private let own: ProcessIdentity

  init() throws {
    temporary = try TemporaryDirectory()
    own = try #require(ProcessIdentity(pid: getpid()))
  }

  /// A container whose supervisor was ready just before this process started.
  private func state(readyTicks: Int64? = nil) -> ContainerState {
    var state = ContainerState(
      root: temporary.path + "/root", id: "web", bundle: "/b", policy: .reactive, runtime: own,
      pidFile: temporary.path + "/pid",
      base: CPUBase(
        declared: CFSBandwidth(quota: 50_000), floor: 1, explicitCeiling: nil, limit: 1_000_000_000)
    )
    state.readyTicks = readyTicks ?? own.startTicks
    return state
  }

  @Test func `a new file with a new process is believed`() throws {
    let wait = try PidFileWait(state())
    #expect(wait.look() == nil)
    for text in ["\(own.pid)", "\(own.pid)\n"] {
      try temporary.write(text, to: "pid")
      #expect(wait.look() == own)
    }
  }

  @Test(arguments: ["", "0", "-1", "1x", "x", "99999999999", " 1", "4194305"])
  func `what names no process is not believed`(text: String) throws {
    try temporary.write(text, to: "pid")
    #expect(try PidFileWait(state()).look() == nil)
  }

  @Test func `a process that is older than the supervisor is not the container's`() throws {
    try temporary.write("\(own.pid)", to: "pid")
    #expect(try PidFileWait(state(readyTicks: own.startTicks + 1)).look() == nil)
  }

  @Test func `the file that was there before is not believed, one in its place is`() throws {
    try temporary.write("\(own.pid)", to: "pid")
    var state = state()
    state.stalePidFile = try temporary.opened().status(of: "pid")?.identity
    let wait = try PidFileWait(state)
    #expect(wait.look() == nil)
    try temporary.write("\(own.pid)", to: ".pid")
    try temporary.opened().rename(".pid", to: "pid")
    #expect(wait.look() == own)
  }

  @Test func `a new pid in the file that was there before is believed, as crun writes it`() throws {
    try temporary.write("1", to: "pid")
    let before = try #require(try temporary.opened().status(of: "pid"))
    var state = state()
    (state.stalePidFile, state.stalePidFileModified) = (before.identity, before.modified)
    let wait = try PidFileWait(state)
    #expect(wait.look() == nil)
    // The clock of a file system moves on with the kernel's tick.
    usleep(20_000)
    let file = try temporary.opened().open("pid", O_WRONLY | O_TRUNC)
    try file.write("\(own.pid)")
    #expect(try temporary.opened().status(of: "pid")?.identity == before.identity)
    #expect(wait.look() == own)
  }

  @Test func `what is no regular file is not believed, and blocks nobody`() throws {
    #expect(mkfifo(temporary.path + "/pid", 0o600) == 0)
    #expect(try PidFileWait(state()).look() == nil)
    try temporary.opened().remove("pid")
    try temporary.write("\(own.pid)", to: "real")
    #expect(symlink("real", temporary.path + "/pid") == 0)
    #expect(try PidFileWait(state()).look() == nil)
  }

  @Test func `a process in another cgroup is not the container's`() throws {
    try temporary.write("\(own.pid)", to: "pid")
    var state = state()
    state.cgroupName = "no-group-of-this-process"
    let wait = try PidFileWait(state)
    #expect(wait.look() == nil)
    #expect(wait.unbelieved() == own)
    #expect(try PidFileWait(self.state()).unbelieved() == nil)
  }

  @Test func `a file of another user is not believed`() throws {
    guard geteuid() == 0 else { return }
    try temporary.write("\(own.pid)", to: "pid")
    chown(temporary.path + "/pid", 1234, 1234)
    #expect(try PidFileWait(state()).look() == nil)
  }

  @Test(arguments: [("state.json", "init_process_pid"), ("status", "pid")])
  func `the low-level runtime's own state counts where the file was taken away`(
    name: String, member: String
  ) throws {
    let directory = temporary.path + "/root/web"
    mkdir(temporary.path + "/root", 0o700)
    mkdir(directory, 0o700)
    defer {
      unlink(directory + "/" + name)
      rmdir(directory)
      rmdir(temporary.path + "/root")
    }
    let wait = try PidFileWait(state())
    #expect(wait.look() == nil)
    try temporary.write("{\"\(member)\": \(own.pid)}", to: "root/web/" + name)
    #expect(wait.look(alsoAtState: false) == nil)
    #expect(wait.look() == own)
    #expect(try PidFileWait(state(readyTicks: own.startTicks + 1)).look() == nil)
  }

  @Test func `a file that is there is found whether or not the runtime still runs`() throws {
    let wait = try PidFileWait(state())
    try temporary.write("\(own.pid)", to: "pid")
    let runtime = try ProcessHandle(pid: getpid())
    #expect(try wait.wait(until: runtime) == own)
  }
}
