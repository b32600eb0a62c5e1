// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Cgroups

@Suite struct CgroupMembersTests {
  @Test(arguments: [
    (["cgroup.procs": ""], false), (["cgroup.procs": "17\n"], true),
    // On v2 they may all have moved below.
    (["cgroup.procs": "", "cgroup.events": "populated 1\nfrozen 0\n"], true),
    (["cgroup.procs": "", "cgroup.events": "populated 0\nfrozen 0\n"], false), ([:], false),
  ])
  func `a group has members or not`(files: [String: String], hasMembers: Bool) throws {
    let directory = try TemporaryDirectory()
    for (name, text) in files { try directory.write(text, to: name) }
    #expect(try directory.opened().hasCgroupMembers == hasMembers)
    #expect(try directory.opened().hasCgroupProcesses == (files["cgroup.procs"]?.isEmpty == false))
  }

  @Test(arguments: [0, 1, 7, 64, 65])
  func `a process in a group below is a member of the one above`(levels: Int) throws {
    let directory = try TemporaryDirectory()
    var name = ""
    for level in 0...levels {
      if level > 0 {
        name += "a/"
        mkdir("\(directory.path)/\(name)", 0o700)
      }
      try directory.write("", to: name + "cgroup.procs")
      // Groups without a process beside the way down.
      mkdir("\(directory.path)/\(name)empty", 0o700)
      try directory.write("", to: name + "empty/cgroup.procs")
    }
    // Deeper than anybody looks somebody may be.
    #expect(try directory.opened().hasCgroupMembers == (levels > 63))
    try directory.write("17\n", to: name + "cgroup.procs")
    #expect(try directory.opened().hasCgroupMembers == true)
    #expect(try directory.opened().hasCgroupProcesses == (levels == 0))
  }

  @Test func `a group that cannot be looked at has members`() throws {
    let directory = try TemporaryDirectory()
    mkdir("\(directory.path)/cgroup.procs", 0o700)
    #expect(try directory.opened().hasCgroupMembers == true)
  }

  @Test(arguments: [
    ("populated 1\nfrozen 0\n", false), ("populated 1\nfrozen 1\n", true), ("populated 1\n", nil),
    ("THAWED\n", nil), ("", nil),
  ])
  func `cgroup.events tells of a pause`(text: String, isFrozen: Bool?) {
    #expect(CgroupEvents.isSet("frozen", in: text) == isFrozen)
  }
}
