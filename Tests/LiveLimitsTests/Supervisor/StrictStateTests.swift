// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import CPUSets
@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

@Suite struct StrictStateTests {
  /// Which name in the instance's directory is in the way: of the state, which then cannot be read
  /// either, or of the file that replaces it.
  @Test(arguments: [StateDirectory.stateFile, StateDirectory.nextStateFile])
  func `a memory limit that could not be saved is in the next state that can`(name: String) throws {
    let files = try TemporaryDirectory()
    let root = StateRoot(path: files.path)
    let directory = try StateDirectory.create(in: root, root: "/run/runc", id: "strict")
    let path = directory.path
    var state = ContainerState(
      root: "/run/runc", id: "strict", bundle: "/bundle", policy: .strict,
      runtime: try #require(ProcessIdentity(pid: getpid())), pidFile: "/pid",
      base: CPUBase(
        declared: CFSBandwidth(quota: nil), floor: 0, explicitCeiling: nil,
        limit: 2_000_000_000))
    state.claim = CPUAllocation(
      held: CPUSet([1]), asked: CPURequest(set: CPUSet([1])), group: "/strict")
    try directory.save(state)
    try files.write("\(64 * mebibyte)\n", to: "limit")
    try files.write("\(mebibyte)\n", to: "usage")
    try files.write("inactive_file 0\n", to: "statistics")
    let memory = try MemorySupervisor(
      MemoryBase(
        declared: 64 * mebibyte, floor: 16 * mebibyte, explicitCeiling: nil, limit: 1 << 40),
      files: [.memoryLimit: "limit", .memoryUsage: "usage", .memoryStatistics: "statistics"],
      in: files)
    let shared = try StrictState(directory, root, state, memory)

    unlink(path + "/" + name)
    #expect(mkdir(path + "/" + name, 0o700) == 0)
    memory.base.declared = 96 * mebibyte
    shared.saveMemory()
    #expect(shared.directory.load()?.memory?.declared != 96 * mebibyte)
    #expect(rmdir(path + "/" + name) == 0)
    try shared.change { _ in }
    #expect(shared.directory.load()?.memory?.declared == 96 * mebibyte)
  }
}
