// SPDX-License-Identifier: Apache-2.0
import TestFiles
import TestValues
import Testing

@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import Quantities
@testable import Syscalls

/// Page cache that was not used again.
private struct Cached: MemoryController.Environment {
  let bytes: Int64
  func inactiveFile() -> Int64 { bytes }
  func spareMemory() -> Int64 { .max }
}

/// A group that has half a gibibyte, of which 40 MiB were used when it was decided to lower that.
private struct SlackGroup: ~Copyable {
  let directory: TemporaryDirectory
  let writer: MemoryWriter
  var controller: MemoryController
  private static let before = 512 * mebibyte

  init(_ version: CgroupVersion) throws {
    let directory = try TemporaryDirectory()
    let name = version == .v1 ? "memory.limit_in_bytes" : "memory.max"
    try directory.write("\(Self.before)\n", to: name)
    if version == .v2 { try directory.write("\(480 * mebibyte)\n", to: "memory.high") }
    self.init(
      directory: directory,
      writer: try MemoryWriter(directory: directory.path, version: version, readOnly: false),
      controller: MemoryController(
        MemoryLaw(to: 8 << 30, version: version), limit: 100 * mebibyte,
        bounds: MemoryBounds(floor: 16 * mebibyte, ceiling: 1024 * mebibyte), now: 0))
  }

  private init(
    directory: TemporaryDirectory, writer: consuming MemoryWriter, controller: MemoryController
  ) {
    self.directory = directory
    self.writer = writer
    self.controller = controller
  }

  mutating func lower(usingBy now: Int64, cached: Int64 = 0) -> MemoryChange {
    let decision = MemoryController.Decision(
      limit: 100 * mebibyte, rule: .memoryGivenBack, use: 40 * mebibyte)
    return writer.carryOut(
      decision, of: &controller, from: Self.before, swap: nil,
      surroundings: Cached(bytes: cached),
      use: { now })
  }
}

@Suite struct MemoryChangeTests {
  @Test(arguments: [CgroupVersion.v1, .v2])
  func `who has begun to grow since it was read keeps what it has`(
    version: CgroupVersion
  ) throws {
    var group = try SlackGroup(version)
    let wait = group.controller.wait
    let change = group.lower(usingBy: 43 * mebibyte)
    #expect(change.isTaken == false && change.limit == 512 * mebibyte)
    #expect(group.controller.limit == 512 * mebibyte && group.controller.wait == 2 * wait)
    let name = version == .v1 ? "memory.limit_in_bytes" : "memory.max"
    #expect(try group.directory.read(name) == "\(512 * mebibyte)\n")
    // Not even slowed down.
    #expect(try version == .v1 || group.directory.read("memory.high") == "\(480 * mebibyte)\n")
  }

  @Test func `page cache is no growth, and hides none`() throws {
    var group = try SlackGroup(.v1)
    #expect(group.lower(usingBy: 60 * mebibyte, cached: 10 * mebibyte).isTaken == false)
    #expect(group.lower(usingBy: 60 * mebibyte, cached: 20 * mebibyte).isTaken)
  }

  @Test(arguments: [CgroupVersion.v1, .v2], [0, 39, 41] as [Int64])
  func `slack is given back where no more is used than when it was decided`(
    version: CgroupVersion, now: Int64
  ) throws {
    var group = try SlackGroup(version)
    let change = group.lower(usingBy: now * mebibyte)
    #expect(change.isTaken && change.limit == 100 * mebibyte)
    #expect(group.controller.limit == 100 * mebibyte)
  }
}
