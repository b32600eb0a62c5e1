// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import State
@testable import Syscalls

/// A group of cgroup v2 as crun makes it, in a scope of systemd's; all of it files.
private struct FakeScope {
  let directory: TemporaryDirectory
  let memory: MemorySupervisor

  // All in MiB; it declares 64.
  init(explicitCeiling: Int64?, found: Int64? = nil, limit: Int64 = 64) throws(SystemError) {
    directory = try TemporaryDirectory()
    try directory.write("\(limit * mebibyte)\n", to: "limit")
    try directory.write("max\n", to: "line")
    try directory.write("67108864\n", to: "outer")
    try directory.write("1048576\n", to: "usage")
    try directory.write("inactive_file 0\n", to: "statistics")
    try directory.write("MemAvailable:    8388608 kB\n", to: "machine")
    var base = MemoryBase(
      declared: 64 * mebibyte, floor: 16 * mebibyte,
      explicitCeiling: explicitCeiling.map { $0 * mebibyte }, limit: 8192 * mebibyte)
    base.found = found.map { $0 * mebibyte }
    (base.inner, base.told) = (64 * mebibyte, 64 * mebibyte)
    let names: [ReexecState.Place: String] = [
      .memoryLimit: "limit", .memoryLine: "line", .memoryOther: "outer", .memoryUsage: "usage",
      .memoryStatistics: "statistics", .machineMemory: "machine",
    ]
    memory = try MemorySupervisor(base, files: names, in: directory)
    if found == nil { _ = memory.look() }
  }

  /// Has another process write the scope's limit, and says what was made of it.
  func write(_ text: String) throws(SystemError) -> [Rule] {
    try directory.write(text + "\n", to: "outer")
    return memory.look().map(\.rule)
  }

  /// The scope's limit in MiB.
  func outer() throws -> Int64? {
    let text = try directory.read("outer")
    return MemoryWriter.limit(text).map { $0 / mebibyte }
  }
}

@Suite struct PredictedMemoryTests {
  /// In MiB: what is used when the container is found, and the limit that it starts with then.
  ///
  /// The fastest container takes 20 MiB in the 5 ms that a raise takes. (A file keeps what a shorter
  /// number does not overwrite; all of these have eight digits.)
  @Test(
    arguments: [(1, 75...75), (40, 75...75), (60, 80...88), (70, 90...94), (80, nil)]
      as [(Int64, ClosedRange<Int64>?)])
  func `it starts with what earlier runs needed, or with what it needs by now`(
    used: Int64, expected: ClosedRange<Int64>?
  ) throws {
    let directory = try TemporaryDirectory()
    try directory.write("\(95 * mebibyte)\n", to: "limit")
    try directory.write("\(used * mebibyte)\n", to: "usage")
    try directory.write("inactive_file 0\n", to: "statistics")
    var base = MemoryBase(
      declared: 95 * mebibyte, floor: 16 * mebibyte, explicitCeiling: nil, limit: 8192 * mebibyte)
    base.predicted = 75 * mebibyte
    #expect(base.first == nil, "until it is found it has what it declares")
    let memory = try MemorySupervisor(
      base,
      files: [.memoryLimit: "limit", .memoryUsage: "usage", .memoryStatistics: "statistics"],
      in: directory)
    let entry = memory.startWithPrediction()
    #expect(entry?.rule == expected.map { _ in .memoryPredicted })
    #expect(entry.map { expected?.contains($0.after / mebibyte) == true } ?? (expected == nil))
    #expect(memory.held == entry?.after ?? 95 * mebibyte)
    #expect(memory.startWithPrediction() == nil, "once")
  }
}

@Suite struct OuterMemoryTests {
  @Test func `the scope of a container has the most that it may have`() throws {
    #expect(try FakeScope(explicitCeiling: 1024).outer() == 1024)
    #expect(try FakeScope(explicitCeiling: nil).outer() == 64)
  }

  @Test func `what systemd writes again is no news and is out of the way`() throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    for old in [64 * mebibyte, 1024 * mebibyte, 64 * mebibyte] {
      #expect(!(try scope.write("\(old)")).contains(.memoryNews))
      #expect(try scope.outer() == 1024)
    }
    #expect(scope.memory.base.declared == 64 * mebibyte)
    #expect(!scope.memory.isBaseChanged)
  }

  @Test func `what an operator writes to the scope alone is the new base`() throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    #expect(try scope.write("\(200 * mebibyte)").first == .memoryNews)
    #expect(scope.memory.base.declared == 200 * mebibyte)
    #expect(scope.memory.isBaseChanged)
    #expect(try scope.outer() == 1024)
    // And what a reload writes then is drift.
    #expect(!(try scope.write("\(200 * mebibyte)")).contains(.memoryNews))
    #expect(try scope.outer() == 1024)
    #expect(try scope.write("max").first == .memoryNews)
    #expect(scope.memory.base.declared == nil)
  }

  /// Where no annotation says more, it is the most from then on.
  @Test(arguments: [200, 32] as [Int64])
  func `without a bound of its own the new base is the bound`(size: Int64) throws {
    let scope = try FakeScope(explicitCeiling: nil)
    #expect(try scope.write("\(size * mebibyte)").first == .memoryNews)
    #expect(scope.memory.base.bounds.ceiling == size * mebibyte)
    #expect(try scope.outer() == size)
    #expect(!(try scope.write("\(size * mebibyte)")).contains(.memoryNews))
  }

  /// crun writes both; and whoever does by hand, in whichever order.
  @Test(arguments: [["outer", "limit"], ["limit", "outer"]])
  func `a limit that is written to both is news once`(order: [String]) throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    var rules: [Rule] = []
    for name in order {
      try scope.directory.write("\(200 * mebibyte)\n", to: name)
      rules += scope.memory.look().map(\.rule)
    }
    #expect(rules.filter { $0 == .memoryNews }.count == 1)
    #expect(scope.memory.base.declared == 200 * mebibyte)
    #expect(try scope.outer() == 1024)
  }

  @Test func `what an update was told to write is no news`() throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    let told = try #require(scope.memory.applied(limit: nil, swap: nil).limit)
    #expect(!(try scope.write("\(told)")).contains(.memoryNews))
    try scope.directory.write("\(told)\n", to: "limit")
    #expect(!scope.memory.look().map(\.rule).contains(.memoryNews))
    #expect(scope.memory.base.declared == 64 * mebibyte)
  }

  /// Less than what is used would be a kill: by the runtime, by each later update, by a reload.
  @Test func `an update to less than the most has the most written, and is declared`() throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    for (asked, written) in [(200, 1024), (2048, 2048)] as [(Int64, Int64)] {
      let told = scope.memory.applied(limit: asked * mebibyte, swap: nil)
      #expect(told.limit == written * mebibyte)
      try scope.directory.write("\(written * mebibyte)\n", to: "outer")
      let rules = scope.memory.update(limit: asked * mebibyte, swap: nil).map(\.rule)
      #expect(!rules.contains(.memoryNews))
      #expect(scope.memory.base.declared == asked * mebibyte)
      #expect(scope.memory.held >= min(asked, 1024) * mebibyte, "it starts from there")
      #expect(!(try scope.write("\(written * mebibyte)")).contains(.memoryNews))
    }
    let plain = try FakeScope(explicitCeiling: nil)
    #expect(plain.memory.applied(limit: mebibyte, swap: nil).limit == nil)
  }

  /// Between the image that finds a container and the one that supervises it there is a moment.
  @Test func `what is written inside the scope before the first look is written over`() throws {
    let scope = try FakeScope(explicitCeiling: 1024, found: 64, limit: 80)
    #expect(scope.memory.look().map(\.rule).contains(.memoryDrift))
    #expect(scope.memory.base.declared == 64 * mebibyte)
    #expect(scope.memory.held < 80 * mebibyte)
  }

  @Test func `a second write within the shortest time is written over behind that time`() throws {
    let scope = try FakeScope(explicitCeiling: 1024)
    for size: Int64 in [80, 90] {
      try scope.directory.write("\(size * mebibyte)\n", to: "limit")
      _ = scope.memory.look()
    }
    #expect(scope.memory.held < 80 * mebibyte, "no other process's limit is ours")
    usleep(60_000)
    #expect(scope.memory.look(isRoutine: true).map(\.rule).contains(.memoryDrift))
    #expect(try scope.directory.read("limit") == "\(scope.memory.held)\n")
  }

  @Test func `a base that an update lowers leaves nothing in the scope to be news later`() throws {
    let scope = try FakeScope(explicitCeiling: nil)
    _ = scope.memory.update(limit: 48 * mebibyte, swap: nil)
    #expect(!scope.memory.look().map(\.rule).contains(.memoryNews))
    #expect(scope.memory.base.declared == 48 * mebibyte)
  }
}
