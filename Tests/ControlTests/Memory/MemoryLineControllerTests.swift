// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000

/// The controller on cgroup v2, whose line calls and slows down.
@Suite struct MemoryLineControllerTests {
  private func group(limit: Int64 = 64, ceiling: Int64 = 2048) -> SimulatedMemcg {
    SimulatedMemcg(limit: limit * mebibyte, ceiling: ceiling * mebibyte, version: .v2)
  }

  @Test(arguments: [50, 200, 1000, 2700])
  func `grows from 64 MiB to 1 GiB without a kill or a stall, at whatever pace`(pace: Int64) {
    var group = group()
    group.run(10 * ms)
    group.grow(to: 1024 * mebibyte, rate: pace * 1_000_000)
    #expect(group.kills == 0)
    #expect(group.stalled == 0)
    // Who is slow is heard of in time when it has crossed.
    #expect(pace < 1000 || group.crossings < 10)
    // The line is no more than is needed for a moment to come, and all of the room is above it.
    let line = group.line ?? 0
    #expect(line >= 1024 * mebibyte && line <= 1250 * mebibyte)
    #expect(group.limit >= MemoryHigh.limit(over: line) - 8192)
  }

  @Test(arguments: [20, 100, 1000])
  func `who grows while nobody looks is slowed down, and not killed`(late: Int64) {
    var group = group(ceiling: 8000)
    group.run(10 * ms)
    group.latency = late * ms
    group.run(1500 * ms, rate: 1_000_000_000)
    #expect(group.kills == 0)
    #expect(group.stalled > 0)
    #expect(group.anonymous > 64 * mebibyte)
  }

  @Test func `at the ceiling the line is gone, and what comes then is the kernel's kill`() {
    var group = group(ceiling: 256)
    group.grow(to: 300 * mebibyte, rate: 500_000_000)
    #expect(group.kills == 1)
    #expect(group.stalled < second)
    #expect(group.decisions.map(\.limit).max() == 256 * mebibyte)
    #expect(group.decisions.filter { $0.rule == .memoryRefused }.count == 1)
  }

  @Test func `nobody sleeps for ever where the machine has no more to spare`() {
    var group = group()
    group.spare = 0
    group.grow(to: 128 * mebibyte, rate: 500_000_000)
    #expect(group.kills == 1)
    #expect(group.decisions.contains { $0.rule == .memoryHostFull })
  }

  @Test func `the line comes back when there is room for it again`() {
    var group = group(limit: 128, ceiling: 128)
    group.grow(to: 120 * mebibyte, rate: 200_000_000)
    group.run(50 * ms)
    #expect(group.line == nil)
    group.free(to: 40 * mebibyte)
    group.run(50 * ms)
    #expect(group.line == MemoryHigh.line(under: 128 * mebibyte))
    #expect(group.kills == 0)
  }

  @Test func `page cache alone raises nothing`() {
    var group = group()
    group.grow(to: 20 * mebibyte, rate: 100_000_000)
    group.run(5 * second, cacheRate: 500_000_000)
    #expect(group.limit <= 64 * mebibyte)
    #expect(group.kills == 0)
    #expect(group.decisions.allSatisfy { $0.rule != .memoryGrown && $0.rule != .memoryNearMiss })
    // And what hides behind it is seen.
    group.grow(to: 300 * mebibyte, rate: 1_000_000_000)
    #expect(group.kills == 0)
    #expect(group.stalled < 100 * ms)
  }

  @Test func `gives back to the use, a head and the room when slack has lasted`() {
    var group = group()
    group.grow(to: 600 * mebibyte, rate: 1_000_000_000)
    group.free(to: 40 * mebibyte)
    group.run(10 * ms)
    #expect(group.limit > 600 * mebibyte)
    group.run(4 * second)
    #expect(group.kills == 0)
    #expect((64 * mebibyte...72 * mebibyte).contains(group.limit))
    #expect((48 * mebibyte...56 * mebibyte).contains(group.line ?? 0))
  }

  @Test func `sleeps when there is nothing to do`() {
    var group = group(limit: 512)
    group.grow(to: 100 * mebibyte, rate: 100_000_000)
    group.run(10 * second)
    let before = group.looks
    group.run(5 * second)
    #expect(group.looks == before)
  }
}
