// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Control
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import escra

@Suite struct TableTests {
  @Test func `columns are as wide as their widest cell, and no line ends in spaces`() {
    let table = Table(
      columns: [.init(title: "ID"), .init(title: "N", isNumber: true), .init(title: "END")],
      rows: [["a", "1.00", "x"], ["longer", "10.00", ""]])
    #expect(
      table.lines == [
        "ID          N  END",
        "a        1.00  x",
        "longer  10.00",
      ])
  }

  @Test func `a cell gives no orders to the terminal`() {
    #expect(Table.printable("a\u{1b}[2J\nb\u{9b}c ä") == "a?[2J?b?c ä")
  }

  @Test func `no container, only the header`() {
    #expect(Table.list(of: []).lines.count == 1)
    #expect(JSON.array([]).text == "[]")
  }

  @Test func `a container at work`() {
    let report = exampleReport {
      $0.app = "shop"
      $0.memorySource = "bpf"
    }
    #expect(
      Table.list(of: [report]).lines == [
        "NAME  ID   POLICY    APP   CPU DECLARED  CPU LIMIT  CPU USED  MEM DECLARED  MEM LIMIT  MEM USED"
          + "  SOURCE          MEM SOURCE  SUPERVISOR",
        "web   web  reactive  shop          1.00       0.05      0.01         512Mi      512Mi       3Mi"
          + "  perf, sampling  bpf         4712",
      ])
  }

  @Test func `what is not there or not known`() {
    let state = exampleState { state in
      state.phase = .starting
      state.source = nil
      state.base.declared.quota = nil
    }
    let unknown = Table.list(of: [ContainerReport(state)]).rows
    #expect(
      unknown == [
        ["web", "web", "reactive", "-", "none", "-", "-", "none", "-", "-", "-", "-", "(none)"]
      ])
    let unlimited = exampleReport {
      $0.cpu.limit = .unlimited
      $0.memory.limit = .unlimited
    }
    let row = Table.list(of: [unlimited]).rows[0]
    #expect(row[5] == "none" && row[8] == "none")
  }

  @Test func `under observe, what the limit would be is in parentheses`() {
    let report = exampleReport {
      $0.policy = .observe
      $0.cpu.limit = .at(1)
      $0.wouldBe = 0.05
    }
    #expect(Table.list(of: [report]).rows[0][5] == "1.00 (0.05)")
    #expect(Table.top(of: [.init(report: report)]).rows[0][2] == "1.00 (0.05)")
  }

  @Test(arguments: [
    (String(repeating: "0123456789abcdef", count: 4), "0123456789ab"),
    (String(repeating: "0123456789abcdeF", count: 4), nil),
    (String(repeating: "a", count: 63), nil), (String(repeating: "a", count: 65), nil),
    ("web", nil),
  ])
  func `only an engine's id is shortened, and only in tables`(id: String, short: String?) {
    let report = exampleReport { $0.id = id }
    #expect(report.shortID == short ?? id)
    #expect(report.json.text.contains("\"id\": \"\(id)\""))
  }

  @Test func `the members of escra ps --json`() {
    let json = exampleReport().json.text
    #expect(
      json == """
        {
          "id": "web",
          "name": null,
          "namespace": null,
          "policy": "reactive",
          "app": null,
          "phase": "running",
          "pid": 4711,
          "source": "perf, sampling",
          "supervisorPid": 4712,
          "released": false,
          "unsupervised": null,
          "cpu": {
            "declared": 1,
            "limit": 0.05,
            "used": 0.013,
            "visible": null,
            "counters": null
          },
          "memory": {
            "declared": 536870912,
            "limit": 536870912,
            "used": 3145728,
            "visible": null,
            "source": null
          },
          "root": "/run/runc",
          "bundle": "/b"
        }
        """)
  }

  @Test func `what was counted is told in sentences and in JSON`() {
    let report = exampleReport {
      var counters = CPUController.Counters()
      counters.raises = 7
      counters.predictions = 5
      counters.stalled = 1_500_000
      $0.counters = counters
    }
    #expect(report.json.text.contains("\"predictions\": 5"))
    #expect(report.json.text.contains("\"stalledNanoseconds\": 1500000"))
    let explanation = Explanation(
      state: exampleState(), report: report, entries: [], limitAbove: nil, cpus: 4)
    #expect(
      explanation.cpu.last
        == "Since it began: 7 raises, 5 of them before the quota was used up; 0 returns; "
        + "0 throttles, for 1.5 ms in all.")
  }

  @Test func `under observe the JSON has what the limit would be`() {
    let report = exampleReport {
      $0.policy = .observe
      $0.supervisor = nil
      $0.cpu.limit = .unlimited
      $0.wouldBe = 0.25
    }
    #expect(report.json.text.contains("\"wouldBe\": 0.25"))
    #expect(report.json.text.contains("\"limit\": null"))
    #expect(report.json.text.contains("\"supervisorPid\": null"))
  }

  @Test func `one of a thing is singular, and under observe only raises and returns are told`() {
    var counters = CPUController.Counters()
    (counters.raises, counters.returns, counters.deferrals) = (1, 1, 1)
    func counted(_ policy: PolicyName) -> String? {
      let state = exampleState { $0.policy = policy }
      let report = exampleReport(state) { $0.counters = counters }
      return Explanation(
        state: state, report: report, entries: [], limitAbove: nil, cpus: 4
      ).cpu.last
    }
    #expect(
      counted(.reactive)
        == "Since it began: 1 raise, 0 of them before the quota was used up; 1 return; "
        + "1 write that waited, because it had used more than its limit; 0 throttles, for 0.0 ms in "
        + "all.")
    #expect(
      counted(.observe)
        == "Since it began there would have been: 1 raise, 0 of them before the quota was used "
        + "up; 1 return.")
  }

  @Test(
    arguments: [
      (nil, ["  one two three four five six seven"]),
      (40, ["  one two three four five six seven"]),
      (24, ["  one two three four", "    five six seven"]),
    ] as [(Int?, [String])])
  func `a long line is broken between words, and goes on further to the right`(
    width: Int?, lines: [String]
  ) {
    #expect(Table.wrapped(["  one two three four five six seven"], to: width) == lines)
  }

  @Test func `a use above the limit is told to be of another time`() {
    let above = exampleReport { $0.cpu.used = 0.64 }
    #expect(above.usesMoreThanItsLimit && !exampleReport().usesMoreThanItsLimit)
    #expect(useNote(1_000_000_000).hasPrefix("CPU USED is the mean of the last 1.0 s; "))
    #expect(useNote(86_400_000_000_000).count < 80 && useNote(nil).count < 80)
    let explanation = Explanation(
      state: exampleState(), report: above, entries: [], limitAbove: nil, cpus: 4)
    #expect(
      explanation.cpu.contains(
        "Its limit is 0.05 cores now; over the last 0.1 s, in which the limit may have "
          + "been higher, it used 0.64."))
  }

  @Test func `the line above top counts and adds`() {
    let other = exampleReport {
      $0.cpu.limit = .unknown
      $0.cpu.used = nil
    }
    #expect(
      topHeading([exampleReport(), other]) == "2 containers, limits of 0.05 cores, using 0.01")
    #expect(topHeading([exampleReport()]).utf8.starts(with: "1 container, ".utf8))
  }
}
