// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// Milliseconds of CPU time a period of 100 ms, so that the tables read like the authors' figures.
private func ms(_ value: Double) -> Nanoseconds { Nanoseconds(value * 1_000_000) }

@Suite struct EscraLawTests {
  /// One row: a sequence of equal reports, and what the law says to the last of them.
  struct Row: CustomTestStringConvertible, Sendable {
    let what: String
    let report: PeriodReport
    var periods = 1
    var unallocated: Nanoseconds = ms(1000)
    var fairShare: Nanoseconds = ms(100)
    var floor: Nanoseconds = ms(5)
    var ceiling: Nanoseconds = ms(2000)
    let expected: EscraLaw.Decision?
    var testDescription: String { what }
  }

  // Each expectation is worked out by hand from the published rules.
  static let rows: [Row] = [
    Row(
      what: "a first throttle is one of ten periods: 20 x 0.1 x 30 ms more, not 600 ms",
      report: PeriodReport(use: ms(100), quota: ms(100), throttled: true),
      expected: .init(quota: ms(160), rule: .scaleUp)),
    Row(
      what: "a step is cut to what is unallocated",
      report: PeriodReport(use: ms(100), quota: ms(100), throttled: true),
      unallocated: ms(25), expected: .init(quota: ms(125), rule: .scaleUp)),
    Row(
      what: "nothing unallocated, nothing given",
      report: PeriodReport(use: ms(100), quota: ms(100), throttled: true),
      unallocated: 0, expected: nil),
    Row(
      what: "a step ends at the ceiling",
      report: PeriodReport(use: ms(100), quota: ms(100), throttled: true),
      ceiling: ms(130), expected: .init(quota: ms(130), rule: .scaleUp)),
    Row(
      what: "awake after two idle seconds, a core at once",
      report: PeriodReport(use: ms(5), quota: ms(5), throttled: true, afterIdle: true),
      expected: .init(quota: ms(100), rule: .jumpStart)),
    Row(
      what: "awake, but the application has only 40 ms more",
      report: PeriodReport(use: ms(5), quota: ms(5), throttled: true, afterIdle: true),
      unallocated: ms(40), expected: .init(quota: ms(45), rule: .jumpStart)),
    Row(
      what: "awake with more than a core: not cut to one",
      report: PeriodReport(use: ms(140), quota: ms(150), afterIdle: true), expected: nil),
    Row(
      what: "a fifth left over is kept",
      report: PeriodReport(use: ms(20), quota: ms(25)), expected: nil),
    Row(
      what: "more than a fifth left over: four fifths stay",
      report: PeriodReport(use: ms(50), quota: ms(100)),
      expected: .init(quota: ms(80), rule: .scaleDown)),
    Row(
      what: "a cut stops at what was used",
      report: PeriodReport(use: ms(79), quota: ms(100)),
      expected: .init(quota: ms(80), rule: .scaleDown)),
    Row(
      what: "a cut stops at the floor",
      report: PeriodReport(use: ms(1), quota: ms(6)),
      expected: .init(quota: ms(5), rule: .scaleDown)),
    Row(
      what: "at the floor there is nothing to cut",
      report: PeriodReport(use: 0, quota: ms(5)), expected: nil),
    Row(
      what: "who could not get a CPU is not cut",
      report: PeriodReport(use: ms(10), quota: ms(100), contended: true), expected: nil),
    Row(
      what: "15 ms of 100 left over are not trimmed for three periods (mean 4.5 ms)",
      report: PeriodReport(use: ms(85), quota: ms(100)), periods: 3, expected: nil),
    Row(
      what: "in the fourth the mean is 6 ms and 5 ms go",
      report: PeriodReport(use: ms(85), quota: ms(100)), periods: 4,
      expected: .init(quota: ms(95), rule: .trim)),
  ]

  @Test(arguments: rows)
  func `the published rules, row by row`(row: Row) {
    var law = EscraLaw()
    var decision: EscraLaw.Decision?
    for period in 1...row.periods {
      decision = law.decide(
        row.report, pool: .init(unallocated: row.unallocated, fairShare: row.fairShare),
        bounds: QuotaBounds(floor: row.floor, ceiling: row.ceiling))
      if period < row.periods { #expect(decision == nil) }
    }
    #expect(decision == row.expected)
  }

  @Test func `throttled more than half of the time, it is given a part of what it lacks`() {
    var law = EscraLaw()
    let report = PeriodReport(use: ms(20), quota: ms(20), throttled: true)
    let bounds = QuotaBounds(floor: ms(5), ceiling: ms(2000))
    // The pool is empty for five periods, then somebody leaves: share 0.6 of the window.
    for _ in 1...5 {
      #expect(
        law.decide(report, pool: .init(unallocated: 0, fairShare: ms(100)), bounds: bounds) == nil)
    }
    // lack 80 ms, part 0.8: 64 ms.
    #expect(
      law.decide(report, pool: .init(unallocated: ms(500), fairShare: ms(100)), bounds: bounds)
        == .init(quota: ms(84), rule: .fairShare))
  }

  @Test func `the sixth throttle with an empty pool does not overcommit`() {
    var law = EscraLaw()
    let report = PeriodReport(use: ms(20), quota: ms(20), throttled: true)
    for _ in 1...20 {
      let decision = law.decide(
        report, pool: .init(unallocated: 0, fairShare: ms(100)),
        bounds: QuotaBounds(floor: ms(5), ceiling: ms(2000)))
      #expect(decision == nil)
    }
  }

  @Test func `the window forgets after a change`() {
    var law = EscraLaw()
    let bounds = QuotaBounds(floor: ms(5), ceiling: ms(2000))
    let pool = EscraLaw.Pool(unallocated: ms(1000), fairShare: ms(100))
    let first = law.decide(
      PeriodReport(use: ms(100), quota: ms(100), throttled: true), pool: pool, bounds: bounds)
    #expect(first?.quota == ms(160))
    // The throttle of before is not counted again.
    #expect(
      law.decide(PeriodReport(use: ms(155), quota: ms(160)), pool: pool, bounds: bounds) == nil)
  }

  @Test func `from 200 ms to the floor in as many periods as the authors' controller needs`() {
    var law = EscraLaw()
    var quota = ms(200)
    var path: [Nanoseconds] = []
    for _ in 1...9 {
      let decision = law.decide(
        PeriodReport(use: ms(1), quota: quota),
        pool: .init(unallocated: ms(2000) - quota, fairShare: ms(2000)),
        bounds: QuotaBounds(floor: ms(30), ceiling: ms(2000)))
      quota = decision?.quota ?? quota
      path.append(quota / 1_000_000)
    }
    #expect(path == [160, 128, 102, 81, 65, 52, 41, 33, 30])
  }

  @Test func `another period scales what is CPU time a period`() {
    let scaled = EscraLaw.Parameters.published.scaled(toPeriod: ms(50))
    #expect(scaled.slice == ms(15))
    #expect(scaled.trim == ms(2.5))
    #expect(scaled.jumpStart == ms(50))
    #expect(scaled.idleAfter == ms(2000))
  }
}
