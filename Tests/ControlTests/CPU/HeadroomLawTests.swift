// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import Quantities

/// Milliseconds of CPU time a period of 100 ms.
private func ms(_ value: Double) -> Nanoseconds { Nanoseconds(value * 1_000_000) }

@Suite struct HeadroomLawTests {
  /// One row: a sequence of reports, and what the law says to the last of them.
  struct Row: CustomTestStringConvertible, Sendable {
    let what: String
    let reports: [PeriodReport]
    var bounds = QuotaBounds(floor: ms(5), ceiling: ms(400))
    let expected: QuotaDecision?
    var testDescription: String { what }
  }

  static let ups: [Row] = [
    Row(
      what: "short in the middle of a period: a core, 15 % and a slice",
      reports: [PeriodReport(use: ms(25), quota: ms(30), throttled: true, isPartial: true)],
      expected: .init(quota: ms(120), rule: .predicted)),
    Row(
      what: "at the pace of two CPUs: two cores, 15 % and two slices",
      reports: [
        PeriodReport(use: ms(25), quota: ms(30), throttled: true, pace: ms(200), isPartial: true)
      ],
      expected: .init(quota: ms(240), rule: .predicted)),
    Row(
      what: "short at the end of a period: what it used, 15 % and a slice",
      reports: [PeriodReport(use: ms(40), quota: ms(42), throttled: true, pace: ms(40))],
      expected: .init(quota: ms(51), rule: .predicted)),
    Row(
      what: "used up: at least twice as much",
      reports: [PeriodReport(use: ms(42), quota: ms(42), throttled: true, pace: ms(42))],
      expected: .init(quota: ms(84), rule: .exhausted)),
    Row(
      what: "a raise ends at the ceiling",
      reports: [PeriodReport(use: ms(25), quota: ms(30), throttled: true, isPartial: true)],
      bounds: QuotaBounds(floor: ms(5), ceiling: ms(50)),
      expected: .init(quota: ms(50), rule: .predicted)),
    Row(
      what: "awake from rest: a core, 15 % and a slice",
      reports: [PeriodReport(use: ms(1), quota: ms(5), afterIdle: true, isPartial: true)],
      expected: .init(quota: ms(120), rule: .jumpStart)),
    Row(
      what: "awake with more than that: nothing",
      reports: [PeriodReport(use: ms(1), quota: ms(150), afterIdle: true, isPartial: true)],
      expected: nil),
  ]

  static let downs: [Row] = [
    Row(
      what: "back to the peak, 15 % and a slice",
      reports: [PeriodReport(use: ms(40), quota: ms(200), pace: ms(40))],
      expected: .init(quota: ms(51), rule: .giveBack)),
    Row(
      what: "four CPUs may strand four slices",
      reports: [PeriodReport(use: ms(40), quota: ms(200), pace: ms(400))],
      expected: .init(quota: ms(66), rule: .giveBack)),
    Row(
      what: "the peak of the period before is kept",
      reports: [
        PeriodReport(use: ms(100), quota: ms(200), pace: ms(100), isPartial: false),
        PeriodReport(use: ms(20), quota: ms(200), pace: ms(20)),
      ],
      expected: .init(quota: ms(120), rule: .giveBack)),
    Row(
      what: "and forgotten after three",
      reports: [ms(100), ms(20), ms(20), ms(20)].map {
        PeriodReport(use: $0, quota: ms(200), pace: $0)
      },
      expected: .init(quota: ms(28), rule: .giveBack)),
    Row(
      what: "less than a tenth is not worth a write",
      reports: [PeriodReport(use: ms(80), quota: ms(106), pace: ms(80))], expected: nil),
    Row(
      what: "who could not run keeps what it has",
      reports: [PeriodReport(use: ms(10), quota: ms(200), contended: true)], expected: nil),
    Row(
      what: "and its small use is no peak",
      reports: [ms(100), ms(10), ms(10), ms(10)].map {
        PeriodReport(use: $0, quota: ms(200), contended: $0 < ms(100), pace: $0)
      } + [PeriodReport(use: ms(20), quota: ms(200), pace: ms(20))],
      expected: .init(quota: ms(120), rule: .giveBack)),
    Row(
      what: "a cut stops at the floor",
      reports: [PeriodReport(use: ms(2), quota: ms(200))],
      bounds: QuotaBounds(floor: ms(50), ceiling: ms(200)),
      expected: .init(quota: ms(50), rule: .giveBack)),
  ]

  @Test(arguments: ups)
  func `up in one step, by what the demand's slope says`(row: Row) { check(row) }

  @Test(arguments: downs)
  func `down to the recent peak and a margin, never below the use`(row: Row) { check(row) }

  private func check(_ row: Row) {
    var law = HeadroomLaw()
    var decision: QuotaDecision?
    for report in row.reports { decision = law.decide(report, bounds: row.bounds) }
    #expect(decision == row.expected)
  }

  @Test func `what comes back with four threads is given four CPUs when it wakes`() {
    var law = HeadroomLaw()
    let bounds = QuotaBounds(floor: ms(5), ceiling: ms(1000))
    _ = law.decide(PeriodReport(use: ms(50), quota: ms(500), pace: ms(400)), bounds: bounds)
    law.forget()
    #expect(law.wake == ms(480))
    // A rest in which nothing was seen forgets nothing; another load replaces it.
    law.forget()
    #expect(law.wake == ms(480))
    _ = law.decide(PeriodReport(use: ms(50), quota: ms(500), pace: ms(100)), bounds: bounds)
    law.forget()
    #expect(law.wake == ms(120))
  }

  @Test(
    arguments: [
      (100, 100, 95), (100, 200, 90), (100, 0, 95), (8, 200, 4), (40, 400, 20), (40, 800, 20),
    ] as [(Double, Double, Double)])
  func `a quota is short from where the slices of the CPUs in use begin`(
    quota: Double, pace: Double, threshold: Double
  ) {
    #expect(HeadroomLaw().threshold(of: ms(quota), pace: ms(pace)) == ms(threshold))
  }

  @Test func `another period scales what is CPU time a period, and what is counted in periods`() {
    let scaled = HeadroomLaw.Parameters.standard.scaled(toPeriod: ms(50))
    #expect(scaled.core == ms(50))
    #expect(scaled.slice == ms(5))
    #expect(scaled.idleAfter == ms(150))
    #expect(scaled.settling == ms(2000))
  }

  @Test func `never below the use, whatever is reported`() {
    var random = SeededGenerator(seed: 12)
    var law = HeadroomLaw()
    for _ in 0..<5000 {
      let quota = Nanoseconds.random(in: ms(1)...ms(800), using: &random)
      let report = PeriodReport(
        use: Nanoseconds.random(in: 0...quota, using: &random), quota: quota,
        throttled: Bool.random(using: &random), afterIdle: Bool.random(using: &random),
        contended: Bool.random(using: &random),
        pace: Nanoseconds.random(in: 0...ms(800), using: &random),
        isPartial: Bool.random(using: &random))
      let decision = law.decide(report, bounds: QuotaBounds(floor: ms(1), ceiling: ms(800)))
      #expect(decision?.quota ?? .max >= report.use)
    }
  }
}
