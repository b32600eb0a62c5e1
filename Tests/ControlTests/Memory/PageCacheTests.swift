// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let second: Nanoseconds = 1_000_000_000

/// Page cache that is in use is need, and the kernel's refaults say which is.
@Suite struct PageCacheTests {
  private static let both: [CgroupVersion] = [.v1, .v2]

  private func group(
    limit: Int64 = 64, ceiling: Int64 = 1024, _ version: CgroupVersion
  ) -> SimulatedMemcg {
    var group = SimulatedMemcg(
      limit: limit * mebibyte, ceiling: ceiling * mebibyte, version: version)
    group.grow(to: 8 * mebibyte, rate: 1_000_000_000)
    group.run(5 * second)
    return group
  }

  private func raises(_ group: SimulatedMemcg) -> Int {
    group.decisions.filter { $0.rule == .memoryRefaults }.count
  }

  @Test(arguments: both, [500, 3000])
  func `a file that is read again and again is in memory after its second reading`(
    version: CgroupVersion, rate: Int64
  ) {
    var group = group(version)
    group.read(200 * mebibyte, for: 20 * second, rate: rate * 1_000_000)
    #expect(group.cache == 200 * mebibyte)
    #expect(group.refaulted <= 320 * mebibyte)
    #expect(group.limit < 400 * mebibyte)
    #expect((1...PageCacheDemand.mostTries).contains(raises(group)))
    #expect(group.kills == 0)
  }

  @Test(arguments: both, [3, 8, 15])
  func `what is read now and then is fetched once or twice, not each time`(
    version: CgroupVersion, pause: Int64
  ) {
    var group = group(limit: 512, version)
    for _ in 0..<20 {
      group.read(120 * mebibyte, for: 500 * ms, rate: 1_000_000_000)
      group.run(pause * second)
    }
    #expect(group.refaulted <= 300 * mebibyte)
  }

  @Test(arguments: both) func `page cache that is not read again is given back`(
    version: CgroupVersion
  ) {
    var group = SimulatedMemcg(
      limit: 512 * mebibyte, ceiling: 1024 * mebibyte, version: version)
    group.grow(to: 8 * mebibyte, rate: 1_000_000_000)
    group.run(200 * ms, cacheRate: 1_000_000_000)
    group.run(8 * second)
    #expect(group.cache > 150 * mebibyte)
    group.run(120 * second)
    #expect(group.cache < 40 * mebibyte)
    let before = group.looks
    group.run(60 * second)
    #expect(group.looks == before)
  }

  @Test(arguments: both) func `a file that never fits is given up after some tries`(
    version: CgroupVersion
  ) {
    var group = group(version)
    let before = group.limit
    group.read(4096 * mebibyte, for: 5 * second, rate: 2_000_000_000)
    #expect((1...PageCacheDemand.mostTries).contains(raises(group)))
    #expect(group.limit <= before + 32 * mebibyte)
    let tries = raises(group)
    group.read(4096 * mebibyte, for: 15 * second, rate: 2_000_000_000)
    #expect(raises(group) == tries)
    #expect(group.kills == 0)
  }

  @Test(arguments: both) func `a few refaults are no demand`(version: CgroupVersion) {
    var group = group(limit: 32, version)
    group.read(64 * mebibyte, for: 60 * second, rate: 400_000)
    #expect(raises(group) == 0)
  }

  /// Without a longer regret it would be two decisions each time.
  @Test(arguments: both, [1, 3, 8])
  func `a small container keeps what a health check needs each time`(
    version: CgroupVersion, every: Int64
  ) {
    var group = SimulatedMemcg(
      limit: 32 * mebibyte, floor: mebibyte, ceiling: 256 * mebibyte, version: version)
    group.grow(to: 6 * mebibyte, rate: 100_000_000)
    group.run(5 * second)
    func check() {
      group.grow(to: 24 * mebibyte, rate: 400_000_000)
      group.free(to: 6 * mebibyte)
      group.run(every * second)
    }
    for _ in 0..<20 { check() }
    let before = group.decisions.count
    for _ in 0..<40 { check() }
    #expect(group.decisions.count - before <= 12)
    #expect(group.kills == 0)
  }
}
