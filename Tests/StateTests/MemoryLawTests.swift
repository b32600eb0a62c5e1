// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Application
@testable import Control
@testable import Quantities
@testable import State

@Suite struct MemoryLawTests {
  private let law = MemoryLaw(to: 8 << 30)

  @Test(
    arguments: [
      (rate: 0, head: 8), (rate: 1_000_000_000, head: 8), (rate: 4_194_304_000, head: 20),
    ] as [(rate: Int64, head: Int64)])
  func `the head is what is taken in 5 ms, and 8 MiB at the least`(rate: Int64, head: Int64) {
    #expect(law.head(at: rate) == head * mebibyte)
  }

  @Test(
    arguments: [
      // A rung above the use, and a head above the rung.
      (usage: 30, inactive: 0, need: 40), (usage: 32, inactive: 0, need: 48),
      // What can be reclaimed is no need, as long as it is a head itself.
      (usage: 60, inactive: 50, need: 26), (usage: 60, inactive: 7, need: 72),
    ] as [(usage: Int64, inactive: Int64, need: Int64)])
  func `the need is a head above the next rung`(usage: Int64, inactive: Int64, need: Int64) {
    let reading = MemoryReading(usage: usage * mebibyte, inactiveFile: inactive * mebibyte)
    #expect(law.need(reading) == need * mebibyte)
  }

  @Test func `a rung is never further away than a thirty-second, or 8 MiB`() {
    var last: Int64 = 0
    for rung in law.ladder.rungs {
      #expect(rung - last <= max(8 * mebibyte, last / 32))
      #expect(rung - last >= 8 * mebibyte)
      last = rung
    }
    #expect(law.ladder.rungs.count < 200)
  }

  @Test(arguments: [0, 1, 8 << 20, (8 << 20) - 1, 1 << 30, 9 << 30] as [Int64])
  func `the rung above a use is above it, and the first one`(use: Int64) {
    let rung = law.ladder.rung(above: use)
    #expect(rung > use)
    #expect(law.ladder.rungs.filter { $0 > use }.allSatisfy { $0 >= rung })
  }

  @Test func `swap and memory together keep what was declared beside memory`() {
    var base = MemoryBase(
      declared: 64 * mebibyte, swapAllowance: 64 * mebibyte, floor: 0, explicitCeiling: nil,
      limit: 1 << 30)
    #expect(base.memorySwap(at: 256 * mebibyte) == 320 * mebibyte)
    base.swapAllowance = nil
    #expect(base.memorySwap(at: 256 * mebibyte) == nil)
  }

  /// Declared are 256 of memory, 512 with swap; -1 is no limit.
  @Test(
    arguments: [
      ([(-1, -1)], -1), ([(-1, nil)], -1), ([(nil, -1)], -1), ([(nil, 640)], 384),
      ([(384, nil)], 128), ([(128, nil)], 384), ([(600, 640)], 40), ([(384, -1)], -1),
      ([(nil, -1), (384, nil)], -1), ([(-1, nil), (384, 400), (300, nil)], 100),
      ([(-1, nil), (384, nil)], -1), ([(nil, nil)], 256),
    ] as [([(memory: Int64?, swap: Int64?)], Int64)])
  func `an update leaves of memory and swap what it does not name`(
    updates: [(memory: Int64?, swap: Int64?)], allowance: Int64
  ) {
    var base = MemoryBase(
      declared: 256, swapAllowance: 256, floor: 0, explicitCeiling: nil, limit: 1 << 30)
    for update in updates { base.redeclare(limit: update.memory, swap: update.swap) }
    #expect(base.requestedSwap(at: 1000) == (allowance < 0 ? -1 : 1000 + allowance))
    base = MemoryBase(declared: 256, floor: 0, explicitCeiling: nil, limit: 1 << 30)
    base.redeclare(limit: 300, swap: nil)
    base.redeclare(limit: -1, swap: nil)
    #expect(base.requestedSwap(at: 1000) == nil)
  }

  @Test func `what a restored container needs is what it begins with, and asks for`() {
    var base = MemoryBase(
      declared: 64 * mebibyte, floor: 16, explicitCeiling: 512 * mebibyte, limit: 1 << 30)
    base.needed = 330 * mebibyte
    var keyed = KeyValueText()
    base.write(to: &keyed)
    #expect(MemoryBase(KeyValueText(keyed.text)) == base)
    #expect(base.share().floor == 330 * mebibyte && base.share().declared == 330 * mebibyte)
    base.find(330 * mebibyte, isNews: true)
    #expect(base.found == 330 * mebibyte)
    base.find(331 * mebibyte, isNews: true)
    #expect(base.found == 64 * mebibyte)
    base.needed = nil
    #expect(base.share().floor == 16 && base.share().declared == 64 * mebibyte)
  }

  @Test(
    arguments: [
      (declared: 64, ceiling: nil, limit: 1000, bounds: 64),
      (declared: 64, ceiling: 512, limit: 1000, bounds: 512),
      (declared: nil, ceiling: 512, limit: 1000, bounds: 512),
      (declared: nil, ceiling: nil, limit: 1000, bounds: 1000),
      (declared: 64, ceiling: 512, limit: 100, bounds: 100),
    ] as [(declared: Int64?, ceiling: Int64?, limit: Int64, bounds: Int64)])
  func `the ceiling is what is asked for, else declared, else all there is`(
    declared: Int64?, ceiling: Int64?, limit: Int64, bounds: Int64
  ) {
    let base = MemoryBase(
      declared: declared, floor: 16, explicitCeiling: ceiling, limit: limit)
    #expect(base.bounds.ceiling == bounds)
  }

  @Test func `in a scope it has no more than systemd was told`() {
    var base = MemoryBase(declared: 64, floor: 16, explicitCeiling: 512, limit: 4096)
    #expect(!base.isScope && base.bounds.ceiling == 512)
    base.told = 200
    #expect(base.isScope && base.bounds.ceiling == 200)
    // An update tells it the most again.
    base.redeclare(limit: 1024, swap: nil)
    #expect(base.told == 512 && base.bounds.ceiling == 512)
    base.explicitCeiling = nil
    base.redeclare(limit: -1, swap: nil)
    #expect(base.told == 4096)
    // In two groups the limit of the container's own group bounds it, and is raised.
    (base.inner, base.told) = (300, 200)
    #expect(!base.isScope && base.bounds.ceiling == 300)
  }

  @Test(
    arguments: [
      (found: 64, isNews: true, is: 64), (200, true, 64), (200, false, 200),
      (1024, true, 64), (28, false, 28),
    ] as [(found: Int64, isNews: Bool, is: Int64)])
  func `a limit that nobody of ours has moved is what was declared, else somebody else's`(
    found: Int64, isNews: Bool, is expected: Int64
  ) {
    var base = MemoryBase(
      declared: 64 * mebibyte, floor: 0, explicitCeiling: 1024 * mebibyte, limit: 1 << 40)
    base.find(found * mebibyte, isNews: isNews)
    #expect(base.found == expected * mebibyte)
    base.declared = nil
    base.find(found * mebibyte, isNews: isNews)
    #expect(base.found == found * mebibyte)
  }
}
