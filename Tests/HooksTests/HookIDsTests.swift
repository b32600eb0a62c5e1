// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Hooks
@testable import Syscalls

@Suite struct HookIdentityTests {
  @Test(arguments: [
    "34 36 2 95 116\n", "1 2 0 3 4\n", "1 2 1 3 4 5 4294967295\n", "1 2 4 3 4 5 6\n",
    "1 2 5 3 4 5 6 7 8\n", "1 2 8 3 4\n",
  ])
  func `what was written down is read back`(text: String) {
    let identity = HookIDs(text)
    #expect(identity?.text == text)
    #expect(identity.map { HookIDs($0.ids) } == identity)
  }

  @Test(arguments: [
    "", "\n", "34 36 2\n", "34 36 2 95\n", "34 36 2 95 116", "34 36 2 95 11", "a b c d e\n",
    "-1 36 2 95 116\n", "34 36 2 95 4294967296\n", "1 2 3 4 5 6 7 8 9 10 11\n", "1",
  ])
  func `half a line, and anything else, is nothing`(text: String) {
    #expect(HookIDs(text) == nil)
  }

  @Test(arguments: [
    ("1 2 4 3 4 5 6\n", "1 2 0 3 4\n"), ("1 2 5 3 4 5 6 7 8\n", "1 2 1 3 4 5 6\n"),
    ("1 2 1 3 4 5 6\n", "1 2 1 3 4 5 6\n"), ("1 2 9 3 4 5 6\n", "1 2 9 3 4 5 6\n"),
  ])
  func `who does not mind memory leaves its program out`(all: String, rest: String) {
    #expect(HookIDs(all)?.withoutMemory.text == rest)
  }

  @Test func `memory is no net of the CPU's`() {
    #expect(HookIDs.Nets([.memory]).source == "bpf")
    #expect(HookIDs.Nets([.memory, .throttle]).source == "bpf, throttle_cfs_rq")
    #expect(HookIDs.Nets([.memoryRefused]).source == "bpf")
  }

  @Test func `nets are called by what they are attached to`() {
    #expect(HookIDs.Nets(rawValue: 3).description == "throttle_cfs_rq+sched_wakeup")
    #expect(HookIDs.Nets.throttle.description == "throttle_cfs_rq")
  }

  @Test func `the programs have names, and the first one predicts`() {
    #expect(
      SchedulerProgram.all.map(\.name) == [
        "tp_btf/sched_stat_runtime", "fexit/throttle_cfs_rq", "tp_btf/sched_wakeup",
        "fentry/page_counter_try_charge",
      ])
    #expect(SchedulerProgram.all.map(\.predicts) == [true, false, false, false])
    #expect(SchedulerProgram.all.map(\.mindsMemory) == [false, false, false, true])
  }
}
