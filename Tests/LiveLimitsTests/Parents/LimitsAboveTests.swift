// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Application
@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

private let core: Int64 = 1_000_000_000
private let mib: Int64 = 1 << 20

/// Groups that are directories of plain files, in one hierarchy.
private struct Tree {
  let directory: TemporaryDirectory
  let version: CgroupVersion
  var root: StateRoot { StateRoot(path: directory.path + "/run") }

  init(_ version: CgroupVersion) throws {
    directory = try TemporaryDirectory()
    self.version = version
    for path in ["/kubepods", "/kubepods/pod1", "/kubepods/pod1/c"] {
      mkdir(directory.path + path, 0o755)
      try limit(path, quota: nil, memory: nil)
    }
  }

  /// Limits in microseconds of a period of 100 ms, and in MiB.
  func limit(_ path: String, quota: Int64?, memory: Int64?) throws {
    let path = String(path.dropFirst())
    if version == .v1 {
      try directory.write("\(quota ?? -1)\n", to: path + "/cpu.cfs_quota_us")
      try directory.write("100000\n", to: path + "/cpu.cfs_period_us")
      let bytes = memory.map { $0 * mib } ?? MemoryLimit.unlimited
      try directory.write("\(bytes)\n", to: path + "/memory.limit_in_bytes")
      try directory.write("hierarchical_memory_limit \(bytes)\n", to: path + "/memory.stat")
    } else {
      try directory.write("\(quota.map { "\($0)" } ?? "max") 100000\n", to: path + "/cpu.max")
      try directory.write(
        (memory.map { "\($0 * mib)" } ?? "max") + "\n", to: path + "/memory.max")
    }
  }

  func location() throws -> CgroupLocation {
    let kind = version == .v1 ? "cgroup cgroup rw,cpu,memory" : "cgroup2 cgroup rw"
    return try #require(
      CgroupLocation(
        group: "/kubepods/pod1/c", mounts: "30 23 0:26 / \(directory.path) rw - \(kind)\n"))
  }

  /// A member of an application that may have what the machine has.
  func found(_ change: (inout ContainerState) -> Void = { _ in }) throws -> ContainerState {
    var state = ContainerState(
      root: "/", id: "c", bundle: "/", policy: .reactive,
      runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
      base: CPUBase(
        declared: CFSBandwidth(quota: 20_000), floor: core / 20, explicitCeiling: 8 * core,
        limit: 16 * core))
    state.memory = MemoryBase(
      declared: 64 * mib, floor: 16 * mib, explicitCeiling: 4096 * mib, limit: 8192 * mib)
    state.cgroupName = "c"
    change(&state)
    state.findLimits(above: try location(), isFound: false, root)
    return state
  }
}

@Suite struct LimitsAboveTests {
  @Test(arguments: [CgroupVersion.v1, .v2])
  func `a pod bounds its member and its members together, and not what is above them all`(
    version: CgroupVersion
  ) throws {
    let tree = try Tree(version)
    try tree.limit("/kubepods/pod1", quota: 30_000, memory: 96)
    let state = try tree.found()
    #expect(state.base.share.ceiling == core * 3 / 10)
    #expect(state.base.share.group?.limit == core * 3 / 10)
    #expect(state.base.limit == 16 * core, "an application may have what the machine has")
    let memory = try #require(state.memory)
    #expect(memory.share().ceiling == 96 * mib && memory.share().declared == 64 * mib)
    #expect(memory.share().group?.limit == 96 * mib)
    #expect(memory.limit == 8192 * mib)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `the least limit above counts`(version: CgroupVersion) throws {
    let tree = try Tree(version)
    try tree.limit("/kubepods", quota: 25_000, memory: 80)
    try tree.limit("/kubepods/pod1", quota: 30_000, memory: 96)
    let state = try tree.found()
    #expect(state.base.ceiling == core / 4)
    #expect(state.base.share.group?.limit == core / 4)
    #expect(state.memory?.bounds.ceiling == 80 * mib)
    #expect(state.memory?.share().group?.limit == 80 * mib)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `a group without a limit bounds nobody`(version: CgroupVersion) throws {
    let state = try Tree(version).found()
    #expect(state.base.ceiling == 8 * core && state.base.share.group == nil)
    #expect(state.memory?.bounds.ceiling == 4096 * mib && state.memory?.share().group == nil)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `a pod that is raised bounds what its members declare`(
    version: CgroupVersion
  ) throws {
    let tree = try Tree(version)
    try tree.limit("/kubepods", quota: 200_000, memory: nil)
    try tree.limit("/kubepods/pod1", quota: 30_000, memory: 96)
    var state = try tree.found { ($0.raisesPodCPU, $0.raisesPodMemory) = (true, true) }
    #expect(state.base.ceiling == 2 * core)
    #expect(state.base.share.group?.isRaised == true)
    #expect(state.base.share.group?.limit == core * 3 / 10)
    #expect(state.memory?.bounds.ceiling == 4096 * mib)
    #expect(state.memory?.share().group?.limit == 96 * mib)
    state.base.above.giveUpRaising(at: core / 2)
    #expect(state.base.ceiling == core / 2 && state.base.share.group?.limit == core / 2)
    #expect(state.base.share.group?.isRaised == false)
  }
}
