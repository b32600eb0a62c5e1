// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

@Suite struct MemoryBrakeTests {
  @Test(
    arguments: [
      (line: 0, limit: 16), (line: 48, limit: 64), (line: 80, limit: 96), (line: 100, limit: 120),
      (line: 1000, limit: 1200),
    ] as [(line: Int64, limit: Int64)])
  func `the room is 16 MiB, and a fifth of the line at the least`(line: Int64, limit: Int64) {
    #expect(MemoryHigh.limit(over: line * mebibyte) == limit * mebibyte)
    #expect(MemoryHigh.line(under: limit * mebibyte) == line * mebibyte)
  }

  @Test(arguments: [0, 1, 8, 63, 80, 81, 100, 777, 4096] as [Int64])
  func `the line under the limit over a line is that line, but for a page`(line: Int64) {
    let there = MemoryHigh.limit(over: line * mebibyte)
    let back = MemoryHigh.line(under: there)
    #expect(back >= line * mebibyte)
    #expect(back - line * mebibyte <= 2 * 4096)
  }

  @Test(arguments: [16, 64, 100, 4096] as [Int64])
  func `no line is nearer to its limit than six hundredths`(limit: Int64) {
    let highest = MemoryHigh.highestLine(under: limit * mebibyte)
    #expect(highest * 106 / 100 <= limit * mebibyte)
    #expect(highest * 107 / 100 > limit * mebibyte)
    #expect(highest % 4096 == 0)
  }
}

@Suite struct MemoryLineTests {
  private let law = MemoryLaw(to: 8 << 30, version: .v2)

  private func line(
    use: Int64, inactive: Int64 = 0, limit: Int64, current: Int64? = nil
  ) -> Int64? {
    law.line(
      under: limit * mebibyte,
      MemoryReading(usage: use * mebibyte, inactiveFile: inactive * mebibyte), rate: 0,
      current: current.map { $0 * mebibyte }
    ).map { $0 / mebibyte }
  }

  @Test(
    arguments: [
      (use: 30, inactive: 0, need: 38), (use: 32, inactive: 0, need: 40),
      // What can be reclaimed is no need, as long as it is a head itself.
      (use: 60, inactive: 50, need: 26), (use: 60, inactive: 7, need: 68),
    ] as [(use: Int64, inactive: Int64, need: Int64)])
  func `the line is needed a head above the use`(use: Int64, inactive: Int64, need: Int64) {
    let reading = MemoryReading(usage: use * mebibyte, inactiveFile: inactive * mebibyte)
    #expect(law.lineNeed(reading) == need * mebibyte)
    #expect(law.need(reading) == (need + 16) * mebibyte)
  }

  @Test(
    arguments: [
      // All of its room below the limit, as long as the use leaves it.
      (use: 30, current: nil, line: 48), (use: 40, current: nil, line: 48),
      // Nearer than that where no more is to be had, once and not at every look.
      (use: 206, current: nil, line: 240), (use: 215, current: 240, line: 240),
      // And none where it would be nearer than six hundredths: nobody sleeps for ever.
      (use: 235, current: 240, line: nil), (use: 218, current: nil, line: nil),
    ] as [(use: Int64, current: Int64?, line: Int64?)])
  func `the line keeps its room, comes nearer, and is gone`(
    use: Int64, current: Int64?, line: Int64?
  ) {
    #expect(self.line(use: use, limit: use < 100 ? 64 : 256, current: current) == line)
  }

  @Test func `there is none below no limit, and none on cgroup v1`() {
    let reading = MemoryReading(usage: mebibyte)
    #expect(law.line(under: MemoryLimit.unlimited, reading, rate: 0, current: nil) == nil)
    let old = MemoryLaw(to: 8 << 30)
    #expect(old.line(under: 64 * mebibyte, reading, rate: 0, current: nil) == nil)
  }

  @Test func `a raise lasts for sixteen mebibytes, or an eighth of the use`() {
    let small = MemoryReading(usage: 50 * mebibyte)
    #expect(law.raised(small, rate: 0) == MemoryHigh.limit(over: 74 * mebibyte))
    let large = MemoryReading(usage: 800 * mebibyte)
    #expect(law.raised(large, rate: 0) == MemoryHigh.limit(over: 908 * mebibyte))
  }
}
