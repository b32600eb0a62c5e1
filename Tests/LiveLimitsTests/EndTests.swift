// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

/// A container that was found in a directory that stands for its group, and whose init has ended.
private func running(in directory: TemporaryDirectory) throws -> ContainerState {
  let gone = ProcessIdentity(pid: .max, startTicks: 1)
  var state = ContainerState(
    root: "/run/runc", id: "a", bundle: "/b", policy: .reactive, runtime: gone, pidFile: "/p",
    base: CPUBase(
      declared: CFSBandwidth(quota: 20_000), floor: 50_000_000, explicitCeiling: nil,
      limit: 2_000_000_000))
  state.phase = .running
  state.initProcess = gone
  state.cpuDirectory = directory.path
  state.cpuInode = try directory.opened().status().identity.inode
  return state
}

@Suite struct EndTests {
  @Test func `a container has ended when no process is left in its group or below it`() throws {
    let directory = try TemporaryDirectory()
    var state = try running(in: directory)
    try directory.write("17\n", to: "cgroup.procs")
    #expect(!state.isOver, "its init has ended, another process has not")
    try directory.write("", to: "cgroup.procs")
    #expect(state.isOver)
    mkdir(directory.path + "/nested", 0o700)
    try directory.write("17\n", to: "nested/cgroup.procs")
    #expect(!state.isOver, "below it")
    state.cpuInode = 1
    #expect(state.isOver, "the path is another group's by now")
  }

  @Test func `its init alone does not keep a container from having ended`() throws {
    let directory = try TemporaryDirectory()
    try directory.write("", to: "cgroup.procs")
    var state = try running(in: directory)
    state.initProcess = ProcessIdentity(pid: getpid())
    #expect(state.isOver, "it has moved to a group that is not the container's")
  }

  @Test func `a group that is gone has ended, one that cannot be looked at has not`() throws {
    let directory = try TemporaryDirectory()
    var state = try running(in: directory)
    state.cpuDirectory = directory.path + "/missing"
    #expect(state.isOver)
    try directory.write("", to: "file")
    state.cpuDirectory = directory.path + "/file"
    #expect(!state.isOver)
  }

  @Test(
    arguments: [
      ("/web/web/nested", "/web/web", "/web/web"), ("/web/web", "/web/web", "/web/web"),
      ("/docker/outer/web/a/b", "/web", "/docker/outer/web"), ("/web/a", nil, "/web/a"),
      ("/other", "/web", "/other"), ("/", "/web", "/"), ("/pods/web/web", "web", "/pods/web"),
    ] as [(String, String?, String)])
  func `its own group is the one that config.json asked for, wherever init has moved below it`(
    group: String, asked: String?, own: String
  ) {
    let text = "9:name=systemd:/x\n4:memory:\(group)\n1:cpu,cpuacct:\(group)\n0::\(group)\n"
    #expect(
      CgroupMembership.own(in: text, below: asked)
        == "0:memory:\(own)\n0:cpu,cpuacct:\(own)\n0::\(own)\n")
  }

  @Test func `a cgroup has one owner at a time`() throws {
    let directory = try TemporaryDirectory()
    try directory.write("", to: "quota")
    func takes(_ flags: CInt) throws -> Bool {
      let file = try FileDescriptor.open(directory.path + "/quota", flags)
      return GroupOwner.take(file)
    }
    do {
      let first = try FileDescriptor.open(directory.path + "/quota", O_RDONLY)
      let (isFirst, isStill) = (GroupOwner.take(first), GroupOwner.take(first))
      #expect(isFirst && isStill)
      #expect(try takes(O_RDWR) == false)
      _ = consume first
    }
    #expect(try takes(O_RDWR) == true)
  }
}
