// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Syscalls

@Suite struct ProcessIdentityTests {
  /// What /proc/PID/stat shows of a process with this command that started at tick 4711.
  private static func stat(
    _ command: String, state: String = "S", flags: Int = 0x400100
  ) -> String {
    "812 (\(command)) \(state) 1 812 812 0 -1 \(flags) 1103 99 0 0 12 7 0 0 20 0 1 0 4711 "
      + "4734976 226 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0\n"
  }

  @Test(arguments: [
    "sh", "a b", "a) b (c", ")", "(", "a) S 1 2 3 4", "", "tmux: server", "a\nb", "ä\u{301}",
    // Characters that Swift takes as one with the parenthesis beside them.
    ") \u{600}", "x)\u{600}", "\u{301}",
  ])
  func `finds the start time behind any command`(command: String) {
    #expect(ProcessIdentity.startTicks(inStat: Self.stat(command)) == 4711)
  }

  @Test(arguments: [
    "", "812", "812 (sh", "812 (sh)", "812 (sh) S 1 2 3", "no parenthesis at all",
    "1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 never",
  ])
  func `finds none in what is no stat file`(text: String) {
    #expect(ProcessIdentity.startTicks(inStat: text) == nil)
  }

  /// PF_EXITING, and of a zombie PF_EXITING too: that one has let go of everything.
  @Test(arguments: [
    ("S", 0x40_0100, false), ("T", 0x40_0100, false), ("D", 0x40_0104, true),
    ("R", 0x40_0504, true), ("Z", 0x40_0104, false), ("X", 0x40_0104, false),
  ])
  func `is ending between its death and its last file`(state: String, flags: Int, isEnding: Bool) {
    let stat = Self.stat("a) S 1 (b", state: state, flags: flags)
    #expect(ProcessIdentity.isEnding(inStat: stat) == isEnding)
    #expect(!ProcessIdentity.isEnding(inStat: "812 (sh) D 1"))
  }

  @Test func `who lives, who is a zombie and who was somebody else is not ending`() throws {
    let child = try Child("/bin/sleep", "60")
    let identity = try #require(ProcessIdentity(pid: child.pid))
    #expect(!identity.isEnding)
    kill(child.pid, SIGKILL)
    #expect(eventually { child.state == "Z" })
    #expect(!identity.isEnding)
    #expect(!ProcessIdentity(pid: -1, startTicks: 0).isEnding)
  }

  @Test(arguments: [("R", true), ("D", true), ("S", false), ("T", false), ("t", false)])
  func `is at work when it runs, and when nothing interrupts it`(state: String, isAtWork: Bool) {
    let stat = Self.stat("a) R 1 (b", state: state, flags: 0)
    #expect(ProcessIdentity.isAtWork(inStat: stat) == isAtWork)
  }

  @Test func `who computes is at work, who was stopped or is gone is not`() throws {
    let child = try Child("/bin/sh", "-c", "while :; do :; done")
    #expect(eventually { ProcessIdentity.isAtWork(pid: child.pid) })
    kill(child.pid, SIGSTOP)
    #expect(eventually { !ProcessIdentity.isAtWork(pid: child.pid) })
    #expect(!ProcessIdentity.isAtWork(pid: -1))
  }

  @Test func `this process is itself, and has started before now`() throws {
    let identity = try #require(ProcessIdentity(pid: getpid()))
    #expect(identity == ProcessIdentity(pid: getpid()))
    #expect(identity.startTicks > 0)
    #expect(identity.startTicks <= ProcessIdentity.nowTicks())
  }

  @Test func `a process that starts now has not started before now`() throws {
    let before = ProcessIdentity.nowTicks()
    let child = try Child("/bin/sleep", "60")
    let identity = try #require(ProcessIdentity(pid: child.pid))
    #expect(identity.startTicks >= before)
    #expect(identity.startTicks <= ProcessIdentity.nowTicks())
  }

  @Test func `nobody has pid 0 or a negative one`() {
    #expect(ProcessIdentity(pid: 0) == nil)
    #expect(ProcessIdentity(pid: -1) == nil)
  }

  @Test func `what is written down reads back`() {
    for identity in [
      ProcessIdentity(pid: 1, startTicks: 0), ProcessIdentity(pid: .max, startTicks: .max),
      ProcessIdentity(pid: 812, startTicks: 4711),
    ] {
      #expect(ProcessIdentity(identity.description) == identity)
    }
    #expect(ProcessIdentity(pid: 812, startTicks: 4711).description == "812@4711")
  }

  @Test(arguments: ["", "@", "812", "812@", "@4711", "812@4711@1", "a@1", "1@b", "99999999999@1"])
  func `nothing else reads as a process`(text: String) {
    #expect(ProcessIdentity(text) == nil)
  }
}

@Suite struct ProcessHandleTests {
  private func opens(_ identity: ProcessIdentity) -> Bool { ProcessHandle(identity) != nil }

  @Test func `a process has ended once it has, reaped or not`() throws {
    let child = try Child("/bin/true")
    let handle = try ProcessHandle(pid: child.pid)
    #expect(isReadable(handle.descriptor.number))
    #expect(handle.hasEnded == true)
    #expect(child.state == "Z")
  }

  @Test func `a process that lives has not ended, until a signal ends it`() throws {
    let child = try Child("/bin/sleep", "60")
    let handle = try ProcessHandle(pid: child.pid)
    #expect(handle.hasEnded == false)
    try handle.send(SIGKILL)
    #expect(isReadable(handle.descriptor.number))
    #expect(handle.hasEnded == true)
  }

  @Test func `the same pid with another start time is another process`() throws {
    let child = try Child("/bin/sleep", "60")
    let identity = try #require(ProcessIdentity(pid: child.pid))
    let other = ProcessIdentity(pid: child.pid, startTicks: identity.startTicks + 1)
    #expect(opens(identity))
    #expect(!opens(other))
  }

  @Test func `a process that waits to be reaped is not opened by its identity`() throws {
    let child = try Child("/bin/sleep", "60")
    let identity = try #require(ProcessIdentity(pid: child.pid))
    kill(child.pid, SIGKILL)
    #expect(eventually { child.state == "Z" })
    #expect(ProcessIdentity(pid: child.pid) == identity)
    #expect(!opens(identity))
  }

  @Test func `nobody is opened who has been reaped`() throws {
    var child: Child? = try Child("/bin/true")
    let pid = try #require(child?.pid)
    let handle = try ProcessHandle(pid: pid)
    child = nil
    #expect(handle.hasEnded == true)
    #expect(throws: SystemError("signal", "a process", errno: ESRCH)) { try handle.send(SIGTERM) }
  }
}
