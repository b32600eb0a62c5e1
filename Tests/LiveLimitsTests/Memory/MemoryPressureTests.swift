// SPDX-License-Identifier: Apache-2.0
import TestFiles
import TestValues
import Testing

@testable import Control
@testable import LiveLimits
@testable import State
@testable import Syscalls

/// A group of cgroup v1 that is about to meet its limit, on a machine with memory enough that waits
/// for some; all of it files.
private struct FakeGroup {
  let directory: TemporaryDirectory
  let memory: MemorySupervisor

  init(reserve: Int64, stalled: String?) throws(SystemError) {
    directory = try TemporaryDirectory()
    try directory.write("67108864\n", to: "limit")
    try directory.write("62914560\n", to: "usage")
    try directory.write("total_inactive_file 0\n", to: "statistics")
    try directory.write("MemAvailable:    8388608 kB\n", to: "machine")
    if let stalled { try Self.stall(stalled, directory) }
    let base = MemoryBase(
      declared: 64 * mebibyte, floor: 16 * mebibyte, explicitCeiling: 1024 * mebibyte,
      limit: 8192 * mebibyte, hostReserve: reserve)
    let names: [ReexecState.Place: String] = [
      .memoryLimit: "limit", .memoryUsage: "usage", .memoryStatistics: "statistics",
      .machineMemory: "machine", .machinePressure: "pressure",
    ]
    memory = try MemorySupervisor(base, files: names, in: directory)
  }

  static func stall(_ percent: String, _ directory: TemporaryDirectory) throws(SystemError) {
    let rest = "avg60=0.00 avg300=0.00 total=1"
    try directory.write("some avg10=99.00 \(rest)\nfull avg10=\(percent) \(rest)\n", to: "pressure")
  }
}

@Suite struct MemoryPressureTests {
  @Test(
    arguments: [
      ("0.00", 1, true), ("9.99", 1, true), ("10.00", 1, false), ("87.03", 1, false),
      // Who names no reserve has not asked for it, and not every kernel counts.
      ("87.03", 0, true), (nil, 1, true),
    ] as [(stalled: String?, reserve: Int64, isRaised: Bool)])
  func `with a reserve nothing is raised while all of the machine waits for memory`(
    stalled: String?, reserve: Int64, isRaised: Bool
  ) throws {
    let group = try FakeGroup(reserve: reserve, stalled: stalled)
    let rules = group.memory.look().map(\.rule)
    #expect(rules == [isRaised ? .memoryGrown : .memoryHostFull])
    let limit = try group.directory.read("limit")
    #expect(limit == (isRaised ? "\(72 * mebibyte)\n" : "\(64 * mebibyte)\n"))
    // The machine may come back to itself, and nobody calls then.
    #expect(isRaised || group.memory.deadline != nil)
  }

  @Test func `what was not raised is raised once the machine is well again`() throws {
    let group = try FakeGroup(reserve: 1, stalled: "50.00")
    _ = group.memory.look()
    try FakeGroup.stall("3.00", group.directory)
    #expect(group.memory.look().map(\.rule) == [.memoryGrown])
    #expect(try group.directory.read("limit") == "\(72 * mebibyte)\n")
  }
}
