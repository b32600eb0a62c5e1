// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

private let period: Nanoseconds = 100_000_000

@Suite struct MemberBooksTests {
  private func books(held: Nanoseconds, usage: Nanoseconds = 0) -> MemberBooks {
    MemberBooks(held: held, period: period, now: 0, usage: usage)
  }

  @Test func `who uses what it holds and no more is given all that it holds at once`() {
    var books = books(held: 50 * ms)
    for turn in 1...20 as ClosedRange<Int64> {
      books.charge(usage: turn * 50 * ms, at: turn * period)
      #expect(books.excess == 0)
    }
    books.hold(80 * ms)
    #expect(books.write(over: 50 * ms, at: 20 * period).quota == 80 * ms)
    books.hold(30 * ms)
    #expect(books.write(over: 80 * ms, at: 20 * period) == MemberBooks.Write(quota: 30 * ms))
  }

  @Test func `what was used up in the middle of a period may be written again once`() {
    var books = books(held: 50 * ms)
    books.charge(usage: 50 * ms, at: period / 4)
    books.hold(60 * ms)
    #expect(books.write(over: 50 * ms, at: period / 4).quota == 60 * ms)
    books.charge(usage: 110 * ms, at: period / 2)
    books.hold(70 * ms)
    let write = books.write(over: 60 * ms, at: period / 2)
    #expect(write.quota == nil)
    #expect((write.due ?? 0) > period / 2)
  }

  @Test func `a cut is made at once, and deeper where its refill would be too much`() {
    var books = books(held: 50 * ms)
    books.charge(usage: 70 * ms, at: period / 10)
    books.hold(40 * ms)
    let write = books.write(over: 50 * ms, at: period / 10)
    #expect(write.quota == 15 * ms)
    #expect(write.due != nil)
    books.charge(usage: 200 * ms, at: period / 5)
    #expect(books.write(over: 50 * ms, at: period / 5).quota == ms)
  }

  @Test func `after a takeover nothing extra is written until the bucket has drained`() {
    var books = books(held: 50 * ms, usage: 7000 * ms)
    books.hold(60 * ms)
    let first = books.write(over: 50 * ms, at: 0)
    #expect(first.quota == nil)
    books.charge(usage: 7050 * ms, at: period)
    #expect(books.write(over: 50 * ms, at: period).quota == nil)
    books.charge(usage: 7050 * ms, at: 2 * period)
    #expect(books.write(over: 50 * ms, at: 2 * period) == MemberBooks.Write(quota: 60 * ms))
  }

  @Test func `whoever has just begun has used nothing yet`() {
    var books = books(held: 50 * ms, usage: 3 * ms)
    books.hold(60 * ms)
    #expect(books.write(over: 50 * ms, at: 0).quota == 60 * ms)
  }

  /// Uses each refill at once, as nothing in a kernel could use more.
  private func worst(_ seed: UInt64, keepsBooks: Bool) -> (above: Nanoseconds, most: Nanoseconds) {
    var random = SeededGenerator(seed: seed)
    var (held, quota) = (50 * ms, 50 * ms)
    var books = books(held: held)
    var (usage, level, above, most) = (0 as Nanoseconds, 0 as Nanoseconds, 0 as Nanoseconds, held)
    let step = period / 20
    for tick in 0..<2000 as Range<Int64> {
      let now = tick * step
      level = max(0, level - held / 20)
      let isRefilled = tick % 20 == 0
      if Int.random(in: 0..<5, using: &random) == 0 {
        held = Nanoseconds.random(in: 20...90, using: &random) * ms
      }
      books.charge(usage: usage, at: now)
      books.hold(held)
      let write = keepsBooks ? books.write(over: quota, at: now).quota : held == quota ? nil : held
      quota = write ?? quota
      if write != nil || isRefilled {
        usage += quota
        level += quota
      }
      most = max(most, held)
      above = max(above, level)
    }
    return (above, most)
  }

  @Test(arguments: UInt64(1)...20)
  func `use is never more than three periods' worth above what was held`(seed: UInt64) {
    let (above, most) = worst(seed, keepsBooks: true)
    #expect(above <= 3 * most)
  }

  @Test func `without the books it is`() {
    for seed in UInt64(1)...20 {
      let (above, most) = worst(seed, keepsBooks: false)
      #expect(above > 6 * most)
    }
  }
}
