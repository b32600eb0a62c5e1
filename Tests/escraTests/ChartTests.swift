// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct ChartTests {
  @Test(arguments: [
    (0.5, 1.0, 2.0, "[#####----|          ]"), (0, 0.05, 2, "[|                   ]"),
    (0, 0, 2, "[|                   ]"), (2, 2, 2, "[###################|]"),
    (1.5, 1, 2, "[#########|#####     ]"), (9, 9, 2, "[###################|]"),
    (1, 1, 0, "[|                   ]"),
  ])
  func `a bar shows use and limit`(used: Double, limit: Double, scale: Double, text: String) {
    #expect(bar(used: used, limit: limit, scale: scale, width: 22) == text)
  }

  @Test func `a chart draws the limit over the use`() {
    let samples = [
      Chart.Sample(used: 0, limit: 1), .init(used: 0.5, limit: 1), .init(used: 2, limit: 2),
      .init(used: 0, limit: 0.05), .init(used: 0, limit: 5),
    ]
    #expect(
      Chart(scale: 2, height: 4).lines(samples, width: 40) == [
        " 2.00 |  = =",
        " 1.50 |  #  ",
        " 1.00 |==#  ",
        " 0.50 | ##= ",
        " 0.00 +-----",
      ])
  }

  @Test func `where samples do not fit, neighbours share a column`() {
    let samples = (0..<5).map { Chart.Sample(used: Double($0), limit: 1) }
    #expect(Chart.condensed(samples, to: 5) == samples)
    #expect(Chart.condensed(samples, to: 4).map(\.used) == [0.5, 2.5, 4])
    #expect(Chart.condensed(samples, to: 1) == [Chart.Sample(used: 2, limit: 1)])
    #expect(Chart.condensed([], to: 3).isEmpty)
    for line in Chart(scale: 2, height: 4).lines(samples, width: 10) { #expect(line.count <= 10) }
  }

  @Test func `a tick is a line`() {
    let line = WatchDrawing.line(
      Chart.Sample(used: 0.5, limit: 1), elapsed: 12_340_000_000, scale: 2)
    #expect(
      line == "  12.3 s  limit 1.00  used 0.50  [##########---------|                    ]")
  }

  @Test func `totals are the limit minus the use over time`() {
    var totals = WatchTotals(throttled: 1_000_000_000)
    totals.take(used: 2_000_000_000, reserved: 5e9, elapsed: 4_000_000_000)
    totals.throttledEnd = 1_250_000_000
    #expect(
      totals.lines == [
        "4.0 s: 5.0 core seconds reserved, 2.0 used, 3.0 reserved and not used; "
          + "throttled for 0.25 s"
      ])
    #expect(totals.pairs.map(\.name) == ["seconds", "used", "reserved", "unused", "throttled"])
    totals.take(used: 6_000_000_000, reserved: 5e9, elapsed: 4_000_000_000)
    #expect(totals.unused == 0)
  }
}
