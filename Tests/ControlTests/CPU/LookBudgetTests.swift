// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

@Suite struct LookBudgetTests {
  /// Looks as often as it may, at most once in `wish`.
  private func looks(period: Nanoseconds, wish: Nanoseconds, for time: Nanoseconds) -> Int64 {
    var budget = LookBudget(period: period)
    var (now, count): (Nanoseconds, Int64) = (0, 0)
    while now < time {
      budget.take(at: now)
      count += 1
      now = max(now + wish, budget.next)
    }
    return count
  }

  @Test(arguments: [(1, 10), (10, 10), (100, 5), (1000, 5)] as [(Int64, Int64)])
  func `in the long run there is one look an interval, after a burst`(
    period: Int64, interval: Int64
  ) {
    let count = looks(period: period * ms, wish: ms / 10, for: 10_000 * ms)
    #expect(abs(count - 10_000 / interval - LookBudget.burst) <= 1)
  }

  @Test func `sixteen raises a period of 100 ms wait for nothing`() {
    let wish = 100 * ms / 16
    #expect(looks(period: 100 * ms, wish: wish, for: 60_000 * ms) == 60_000 * ms / wish)
  }
}
