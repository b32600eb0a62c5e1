// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// One core of two, in periods of 100 ms: what is used in one go overshoots by its half.
private func books(limit: Nanoseconds = 100 * ms, cpus: Int64 = 2, used: Nanoseconds = 0)
  -> UsageBooks
{
  UsageBooks(limit: limit, period: 100 * ms, cpus: cpus, now: 0, usage: used)
}

@Suite struct UsageBooksTests {
  @Test(
    arguments: [
      (20, 2, 36), (50, 2, 75), (100, 2, 100), (150, 2, 150), (100, 8, 175), (200, 2, 200),
    ] as [(Nanoseconds, Int64, Nanoseconds)])
  func `one period's worth, or what the kernel itself allows at the seam of two periods`(
    limit: Nanoseconds, cpus: Int64, depth: Nanoseconds
  ) {
    #expect(books(limit: limit * ms, cpus: cpus).depth == depth * ms)
  }

  @Test(arguments: [(0, 100), (20, 80), (100, 0)] as [(Nanoseconds, Nanoseconds)])
  func `what was overrun is deducted from the next grant`(
    excess: Nanoseconds, grant: Nanoseconds
  ) {
    var books = books()
    books.charge(usage: 2 * excess * ms, at: excess * ms)
    #expect(books.excess == excess * ms)
    #expect(books.grant(100 * ms) == grant * ms)
  }

  @Test func `a wish that the books can bear is granted as it is`() {
    var books = books()
    books.charge(usage: 40 * ms, at: 20 * ms)
    #expect(books.grant(60 * ms) == 60 * ms)
  }

  @Test func `the limit drains what was overrun`() {
    var books = books()
    books.charge(usage: 120 * ms, at: 60 * ms)
    #expect(books.excess == 60 * ms)
    books.charge(usage: 120 * ms, at: 100 * ms)
    #expect(books.excess == 20 * ms)
    #expect(books.moment(of: 100 * ms) == 120 * ms)
    books.charge(usage: 120 * ms, at: 120 * ms)
    #expect(books.grant(100 * ms) == 100 * ms)
  }

  @Test func `use that nobody saw counts as if it had just been`() {
    var books = books()
    books.charge(usage: 50 * ms, at: 10_000 * ms)
    #expect(books.excess == 25 * ms)
  }

  @Test func `what the kernel counted late is charged in full`() {
    var books = books(cpus: 1)
    // Full speed on the one CPU, seen a tick at a time: 40 ms in 40 ms, limit half a core.
    books.set(limit: 50 * ms)
    for tick in 1...10 {
      let time = Nanoseconds(tick) * 4 * ms
      books.charge(usage: time - 4 * ms, at: time - ms / 10)
      books.charge(usage: time, at: time)
    }
    #expect(books.excess >= 20 * ms - 4 * ms)
  }

  @Test func `where the limit is all the CPUs they are the limit`() {
    var books = books(limit: 200 * ms)
    books.charge(usage: 1000 * ms, at: 500 * ms)
    #expect(books.grant(200 * ms) == 200 * ms)
  }

  @Test func `after a takeover nothing extra until a period has passed`() {
    var books = books(used: 3_600_000 * ms)
    #expect(books.grant(50 * ms) <= 0)
    #expect(books.moment(of: 100 * ms) == 100 * ms)
    books.charge(usage: 3_600_000 * ms, at: 100 * ms)
    #expect(books.grant(100 * ms) == 100 * ms)
  }

  @Test func `a container that has used next to nothing has nothing to hide`() {
    #expect(books(used: 10 * ms).grant(90 * ms) == 90 * ms)
  }

  @Test func `with the period's end known only the next period's value is kept back`() {
    var books = books()
    books.charge(usage: 60 * ms, at: 30 * ms)
    // 30 of 100 are taken; blind, 70 may be used twice. 40 ms before the end the limit drains 40.
    #expect(books.grant(100 * ms) == 70 * ms)
    #expect(books.grant(100 * ms, periodEnd: 70 * ms) == 60 * ms)
    #expect(books.grant(100 * ms, periodEnd: 110 * ms) == 100 * ms)
    #expect(books.grant(60 * ms, periodEnd: 70 * ms) == 60 * ms)
  }

  @Test func `a smaller limit does not forget`() {
    var books = books()
    books.charge(usage: 160 * ms, at: 80 * ms)
    books.set(limit: 50 * ms)
    #expect(books.excess == 80 * ms)
    #expect(books.grant(50 * ms) < 0)
    #expect(books.moment(of: 50 * ms) == 240 * ms)
  }

  @Test func `no number is too large or too small`() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<2000 {
      var books = UsageBooks(
        limit: Nanoseconds.random(in: 1 ... .max / 4, using: &random),
        period: Nanoseconds.random(in: ms...1000 * ms, using: &random),
        cpus: Int64.random(in: 1...8192, using: &random), now: 0,
        usage: abs(random.number() / 4))
      books.charge(
        usage: abs(random.number() / 4), at: Nanoseconds.random(in: 0 ... .max / 8, using: &random))
      _ = books.grant(Nanoseconds.random(in: 1...1_000_000 * ms, using: &random))
      _ = books.grant(100 * ms, periodEnd: abs(random.number() / 8))
      _ = books.moment(of: 100 * ms)
      #expect(books.excess >= 0)
    }
  }
}
