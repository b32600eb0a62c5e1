// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

@Suite struct ReleaseTests {
  private let temporary: TemporaryDirectory
  private let root: StateRoot

  init() throws {
    temporary = try TemporaryDirectory()
    root = StateRoot(path: temporary.path + "/escra")
    // A group of cgroup v1 with as many digits everywhere as a test writes.
    try temporary.write("90000\n", to: "cpu.cfs_quota_us")
    try temporary.write("100000\n", to: "cpu.cfs_period_us")
    try temporary.write("90000000\n", to: "memory.limit_in_bytes")
    try temporary.write("10000000\n", to: "memory.usage_in_bytes")
    // Whoever looks whether it is over finds this process in it.
    try temporary.write("\(getpid())\n", to: "cgroup.procs")
  }

  /// A container that runs, and declares half of a CPU and 50 MB.
  private func state(_ policy: PolicyName = .reactive) throws -> ContainerState {
    var state = ContainerState(
      root: "/run/runc", id: "web", bundle: temporary.path, policy: policy,
      runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
      base: CPUBase(
        declared: CFSBandwidth(quota: 50_000), floor: 10_000_000, explicitCeiling: nil,
        limit: 2_000_000_000))
    state.phase = .running
    state.initProcess = ProcessIdentity(pid: getpid())
    state.cpuDirectory = temporary.path
    state.cpuInode = try temporary.opened().status().identity.inode
    state.memoryDirectory = temporary.path
    state.version = .v1
    state.memory = MemoryBase(
      declared: 50_000_000, floor: 4096, explicitCeiling: nil, limit: 1 << 30)
    return state
  }

  private func create(_ state: ContainerState) throws -> StateDirectory {
    let directory = try StateDirectory.create(in: root, root: state.root, id: state.id)
    try directory.save(state)
    return directory
  }

  @Test func `a mark is read back, and gone with the instance`() throws {
    let directory = try create(state())
    #expect(directory.releaseStage == nil)
    for stage in [ReleaseStage.asked, .done] {
      try directory.mark(stage)
      #expect(directory.releaseStage == stage)
    }
    try directory.mark(nil)
    #expect(directory.releaseStage == nil)
    try directory.mark(.done)
    directory.remove()
    #expect(root.instances() == [])
    #expect(access(directory.path, F_OK) != 0)
  }

  @Test(arguments: ["", "don", "asked\n", "\u{0}"])
  func `a mark that is torn has everything given back once more`(text: String) throws {
    let directory = try create(state())
    try directory.descriptor.open("released", O_WRONLY | O_CREAT).write(text)
    #expect(directory.releaseStage == .asked)
  }

  @Test func `what was declared is in force again, and that is written down`() throws {
    let state = try state()
    let directory = try create(state)
    let limits = try Release.finish(state, directory, root)
    #expect(limits == LimitsInForce(cpu: CFSBandwidth(quota: 50_000), memory: 50_000_000))
    #expect(directory.releaseStage == .done)
    #expect(try temporary.read("cpu.cfs_quota_us") == "50000\n")
  }

  @Test func `once it is done nobody writes over what an operator has written since`() throws {
    let directory = try create(state())
    try directory.mark(.done)
    let limits = try Release.release(directory, root)
    #expect(limits.cpu == CFSBandwidth(quota: 90_000))
    #expect(try temporary.read("memory.limit_in_bytes") == "90000000\n")
  }

  @Test func `an observer has what it had`() throws {
    let state = try state(.observe)
    let directory = try create(state)
    try Release.finish(state, directory, root)
    #expect(try temporary.read("cpu.cfs_quota_us") == "90000\n")
    #expect(try temporary.read("memory.limit_in_bytes") == "90000000\n")
    #expect(directory.releaseStage == .done)
  }

  @Test func `a group that has the path by now is left alone`() throws {
    var state = try state()
    state.cpuInode = (state.cpuInode ?? 0) + 1
    state.memory = nil
    let directory = try create(state)
    let limits = try Release.finish(state, directory, root)
    #expect(limits == LimitsInForce())
    #expect(try temporary.read("cpu.cfs_quota_us") == "90000\n")
  }

  @Test func `what is being created, or has ended, is refused and not marked`() throws {
    var starting = try state()
    starting.phase = .starting
    starting.runtime = try #require(ProcessIdentity(pid: getpid()))
    var ended = try state()
    ended.initProcess = nil
    ended.cpuInode = 0
    for (state, error) in [(starting, ReleaseError.starting), (ended, .ended)] {
      let directory = try create(state)
      #expect(throws: error) { try Release.release(directory, root) }
      #expect(directory.releaseStage == nil)
      directory.remove()
    }
  }

  @Test func `who was not released has nothing to be undone`() throws {
    let directory = try create(state())
    let isUndone = try Release.adopt(directory, reserved: CPUSet(), root)
    #expect(isUndone == false)
  }

  @Test func `adopted, its limits are for its next supervisor to find`() throws {
    let directory = try create(state())
    try directory.mark(.done)
    let isUndone = try Release.adopt(directory, reserved: CPUSet(), root)
    #expect(isUndone)
    #expect(directory.releaseStage == nil)
    #expect(try temporary.read("cpu.cfs_quota_us") == "90000\n")
  }
}
