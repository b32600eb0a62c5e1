// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import LiveLimits

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

  @Test(arguments: [
    ("populated 1\nfrozen 0\n", false), ("populated 1\nfrozen 1\n", true), ("populated 1\n", nil),
    ("THAWED\n", nil), ("", nil),
  ])
  func `cgroup.events tells of a pause`(text: String, isFrozen: Bool?) {
    #expect(CgroupEvents.isSet("frozen", in: text) == isFrozen)
  }
}
