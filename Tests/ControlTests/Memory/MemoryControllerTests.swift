// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000

@Suite struct MemoryControllerTests {
  @Test(arguments: [50, 200, 1000, 2700])
  func `grows from 64 MiB to 1 GiB without a kill, at whatever pace`(pace: Int64) {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.grow(to: 1024 * mebibyte, rate: pace * 1_000_000)
    #expect(group.kills == 0)
    #expect(group.limit >= 1024 * mebibyte)
    // It is no more than is needed for a moment to come, either.
    #expect(group.limit <= 1200 * mebibyte)
  }

  @Test func `is too late where it is let in too late, which shows that the others can fail`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.latency = 40 * ms
    group.grow(to: 1024 * mebibyte, rate: 2_700_000_000)
    #expect(group.kills > 0)
  }

  @Test func `never asks for more than the ceiling, and says once that it is refused`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 256 * mebibyte)
    group.grow(to: 300 * mebibyte, rate: 500_000_000)
    #expect(group.kills == 1)
    #expect(group.decisions.map(\.limit).max() == 256 * mebibyte)
    #expect(group.decisions.filter { $0.rule == .memoryRefused }.count == 1)
  }

  @Test func `stops where the machine has no more to spare`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.spare = 0
    group.grow(to: 128 * mebibyte, rate: 500_000_000)
    #expect(group.kills == 1)
    #expect(group.decisions.contains { $0.rule == .memoryHostFull })
  }

  @Test func `gives back to the use and a margin when slack has lasted`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.grow(to: 600 * mebibyte, rate: 1_000_000_000)
    group.free(to: 40 * mebibyte)
    group.run(10 * ms)
    #expect(group.limit > 600 * mebibyte)
    group.run(4 * second)
    #expect(group.kills == 0)
    #expect((40 * mebibyte + 8 * mebibyte...64 * mebibyte).contains(group.limit))
  }

  @Test func `sleeps when there is nothing to do`() {
    var group = SimulatedMemcg(limit: 512 * mebibyte, ceiling: 2048 * mebibyte)
    group.grow(to: 100 * mebibyte, rate: 100_000_000)
    group.run(10 * second)
    let before = group.looks
    group.run(5 * second)
    #expect(group.looks == before)
  }

  /// An engine's exec in a container that idles: a MiB, all at once, and gone again.
  @Test func `gives back what a start that led nowhere was given`() {
    let law = MemoryLaw(to: 1024 * mebibyte, version: .v2)
    let world = SimulatedMemcg(limit: 0, ceiling: 0)
    var controller = MemoryController(
      law, limit: 28 * mebibyte, bounds: MemoryBounds(floor: 1, ceiling: 1024 * mebibyte), now: 0)
    var time = 60 * second
    func look(_ eighths: Int64) -> MemoryController.Step {
      controller.observe(usage: eighths * mebibyte / 8, at: time, surroundings: world)
    }
    var step = look(29)
    while let next = step.deadline { (time, step) = (next, look(29)) }
    #expect(controller.limit == 28 * mebibyte)
    time += 30 * second
    step = look(36)
    #expect(controller.limit == 45 * mebibyte)
    while let next = step.deadline { (time, step) = (next, look(30)) }
    #expect(controller.limit <= 29 * mebibyte)
  }

  @Test(arguments: [CgroupVersion.v1, .v2])
  func `forgets the fastest pace, however often it looks`(version: CgroupVersion) {
    var group = SimulatedMemcg(
      limit: 64 * mebibyte, ceiling: 2048 * mebibyte, version: version)
    group.grow(to: 600 * mebibyte, rate: 2_700_000_000)
    group.run(3 * second)
    let before = group.looks
    group.run(2 * second)
    #expect(group.looks == before)
    // And what was given back is not taken again at once.
    #expect(group.decisions.filter { $0.rule == .memoryGivenBack }.count <= 2)
  }

  @Test(arguments: [500, 1000, 2500, 4000], stride(from: 5, to: 200, by: 15).map(\.self))
  func `page cache that grows fast is no pace of demand`(pace: Int64, after: Int64) {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.grow(to: 3 * mebibyte, rate: 100_000_000)
    // Late, so that much is new at once.
    group.latency = 12 * ms
    group.run(after * ms)
    group.run(300 * ms, cacheRate: pace * 1_000_000)
    #expect(group.decisions.allSatisfy { $0.rule != .memoryGrown }, "\(group.decisions)")
    #expect(group.kills == 0 && group.limit == 64 * mebibyte)
  }

  @Test func `page cache is not need`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    group.grow(to: 30 * mebibyte, rate: 100_000_000)
    group.run(5 * second, cacheRate: 500_000_000)
    #expect(group.limit <= 64 * mebibyte)
    #expect(group.kills == 0)
    // And what hides behind it is seen.
    group.grow(to: 300 * mebibyte, rate: 1_000_000_000)
    #expect(group.kills == 0)
  }

  @Test func `waits longer after a regret, and no longer than a minute`() {
    var group = SimulatedMemcg(limit: 64 * mebibyte, ceiling: 2048 * mebibyte)
    for _ in 0..<12 {
      group.grow(to: 600 * mebibyte, rate: 1_000_000_000)
      group.free(to: 40 * mebibyte)
      // Until it has been given back, and a moment longer.
      let limit = group.limit
      var waited: Nanoseconds = 0
      while group.limit == limit && waited < 130 * second {
        group.run(100 * ms)
        waited += 100 * ms
      }
    }
    #expect(group.kills == 0)
    #expect(group.controller.wait > 4 * second)
    #expect(group.controller.wait <= 60 * second)
  }

  @Test func `keeps what the container started with until it has found its size`() {
    var group = SimulatedMemcg(limit: 512 * mebibyte, ceiling: 512 * mebibyte)
    group.run(1900 * ms)
    #expect(group.limit == 512 * mebibyte)
    group.run(200 * ms)
    #expect(group.limit == 16 * mebibyte)
  }

  @Test func `takes what is above the ceiling back at once`() {
    var group = SimulatedMemcg(limit: 1024 * mebibyte, ceiling: 256 * mebibyte)
    group.run(ms)
    #expect(group.limit == 256 * mebibyte)
    #expect(group.decisions.map(\.rule) == [.memoryBounded])
  }

  @Test func `a shrink that the kernel refused is a regret`() {
    let law = MemoryLaw(to: 8 << 30)
    var controller = MemoryController(
      law, limit: 512 * mebibyte,
      bounds: MemoryBounds(floor: 16 * mebibyte, ceiling: 1024 * mebibyte), now: 0)
    let wait = controller.wait
    controller.refuse(found: 512 * mebibyte, wasLowering: true)
    #expect(controller.wait == 2 * wait)
  }

  @Test func `a shrink that was refused is one regret, whoever grows after it`() {
    struct Plenty: MemoryController.Environment {
      func inactiveFile() -> Int64 { 0 }
      func spareMemory() -> Int64 { .max }
    }
    var controller = MemoryController(
      MemoryLaw(to: 8 << 30), limit: 512 * mebibyte,
      bounds: MemoryBounds(floor: 16 * mebibyte, ceiling: 2048 * mebibyte), now: 0)
    var time: Nanoseconds = 0
    func look(_ use: Int64) -> Rule? {
      time += 100 * ms
      return controller.observe(usage: use * mebibyte, at: time, surroundings: Plenty())
        .decision?.rule
    }
    while time < 10 * second, look(40) != .memoryGivenBack {}
    controller.refuse(found: 512 * mebibyte, wasLowering: true)
    let wait = controller.wait
    #expect(wait == 2 * MemoryLaw.Parameters.standard.slackAfter)
    #expect(look(510) != nil && controller.limit > 512 * mebibyte)
    #expect(controller.wait == wait)
  }
}

@Suite struct MemoryControllerPropertyTests {
  /// A run of any phases: growing, falling, resting, with cache, with a supervisor that is let in
  /// after up to 2 ms.
  @Test(arguments: 0..<12, [CgroupVersion.v1, .v2])
  func `no kill below the ceiling, whatever comes`(seed: UInt64, version: CgroupVersion) {
    var random = Random(seed: seed)
    let ceiling = Int64.random(in: 600...2000, using: &random) * mebibyte
    var group = SimulatedMemcg(
      limit: Int64.random(in: 32...600, using: &random) * mebibyte, ceiling: ceiling,
      version: version)
    group.latency = Nanoseconds.random(in: 50_000...2_000_000, using: &random)
    for _ in 0..<20 {
      switch Int.random(in: 0..<5, using: &random) {
      case 0, 1:
        let room = ceiling - 60 * mebibyte
        let target = Int64.random(in: 0...room, using: &random)
        group.grow(
          to: target, rate: Int64.random(in: 1_000_000...2_700_000_000, using: &random) + 20_000_000
        )
      case 2: group.free(to: Int64.random(in: 0...max(1, group.anonymous), using: &random))
      case 3: group.run(Nanoseconds.random(in: 0...3_000, using: &random) * ms)
      default:
        group.run(
          Nanoseconds.random(in: 0...500, using: &random) * ms, cacheRate: 800_000_000)
      }
      #expect(group.kills == 0)
      #expect(group.limit <= max(ceiling, 600 * mebibyte))
    }
  }
}

/// splitmix64, so that a seed is a run.
private struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
