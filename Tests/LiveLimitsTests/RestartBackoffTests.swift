// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import LiveLimits
@testable import Quantities

@Suite struct CrashCountTests {
  private static let second: Nanoseconds = 1_000_000_000
  /// The machine has been up for less than a supervisor has to live.
  private static let boot = 3 * second

  /// What is decided at each of these moments, in tenths of a second.
  private func verdicts(at tenths: [Int64]) -> [RestartBackoff.Verdict] {
    var count = RestartBackoff()
    return tenths.map { count.verdict(at: Self.boot + $0 * Self.second / 10) }
  }

  @Test func `the third crash in a row is one too many`() {
    #expect(verdicts(at: [0, 10, 30]) == [.start, .start, .hopeless(8 * Self.second)])
    #expect(verdicts(at: [0, 10, 109]) == [.start, .start, .hopeless(Self.second / 10)])
  }

  @Test func `a supervisor that has lived for ten seconds has not crashed in a row`() {
    #expect(verdicts(at: [0, 10, 110, 120]) == [.start, .start, .start, .start])
  }

  @Test(arguments: [1, 7, 20, 99] as [Int64])
  func `who is looked at all the time is tried again ten seconds after the last start`(
    every tenths: Int64
  ) {
    var count = RestartBackoff()
    #expect(count.verdict(at: Self.boot) == .start)
    #expect(count.verdict(at: Self.boot) == .start)
    #expect(count.verdict(at: Self.boot) == .hopeless(10 * Self.second))
    let step = tenths * Self.second / 10
    var passed = step
    while passed < 10 * Self.second {
      #expect(count.verdict(at: Self.boot + passed) == .rest(10 * Self.second - passed))
      passed += step
    }
    #expect(count.verdict(at: Self.boot + passed) == .start)
  }

  @Test func `after a rest there are as many tries as before`() {
    #expect(
      verdicts(at: [0, 0, 0, 50, 100, 101, 102, 150, 201]) == [
        .start, .start, .hopeless(10 * Self.second), .rest(5 * Self.second),
        .start, .start, .hopeless(99 * Self.second / 10), .rest(51 * Self.second / 10), .start,
      ])
  }

  @Test func `where nothing could be started a look within a second counts for nothing`() {
    var count = RestartBackoff()
    var tried: [Nanoseconds] = []
    for tenth in 0..<100 {
      let now = Self.boot + Int64(tenth) * Self.second / 10
      switch count.verdict(at: now) {
      case .start:
        tried.append(now - Self.boot)
        count.couldNotStart(at: now)
      case .rest(let delay): #expect(delay <= Self.second)
      case .hopeless(let delay):
        #expect(now == Self.boot + 2 * Self.second && delay == 9 * Self.second)
        #expect(tried == [0, Self.second])
        return
      }
    }
    Issue.record("it is tried for ever")
  }
}
