// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct TopTests {
  private static func many(_ count: Int) -> [ContainerReport] {
    (0..<count).map { number in
      exampleReport {
        $0.id = "c\(padded(number, 3))"
        $0.name = ContainerName(
          pod: "a-long-name-7d9f8b6c5-\(number)", container: "web", namespace: "n")
        $0.cpu.used = Double(number) / 1000
        $0.memory.used = Int64(count - number)
      }
    }
  }

  private func screen(
    _ view: inout TopView, _ reports: [ContainerReport], _ columns: Int = 80, _ lines: Int = 22
  ) -> [String] {
    Table.top(&view, of: reports, columns: columns, lines: lines)
  }

  /// Presses keys, none of which ends it.
  private func press(_ keys: [TopKey], _ view: inout TopView) {
    for key in keys {
      let goesOn = view.press(key, page: 20)
      #expect(goesOn)
    }
  }

  private func type(_ text: String, _ view: inout TopView) {
    press(TopKey.parse(Array(text.utf8)), &view)
  }

  @Test func `80 columns have the name and the limit`() {
    var view = TopView()
    let lines = screen(&view, Self.many(100))
    #expect(lines.count == 22 && lines.allSatisfy { $0.count <= 80 })
    #expect(lines[0].hasPrefix("NAME ") && lines[0].contains("CPU LIMIT"))
    #expect(lines[0].contains("MEM LIMIT") && lines[0].contains("MEM USED"))
    #expect(lines[1].hasPrefix("a-long-…-7d9f8b6c5-0/web  "))
    #expect(lines[21].hasPrefix("1-20 of 100 by name. Sort n c l m r"))
    #expect(lines[21].hasSuffix("end q."))
  }

  @Test func `24 lines reach every one of 100 containers`() {
    let reports = Self.many(100)
    var view = TopView()
    var seen: Set<String> = []
    for _ in 0..<6 {
      for line in screen(&view, reports).dropFirst().dropLast() {
        seen.insert(String(line.prefix { $0 != " " }))
      }
      press([.pageDown], &view)
    }
    #expect(seen.count == 100)
    #expect(screen(&view, reports).last?.hasPrefix("81-100 of 100 ") == true)
    press([.home, .down], &view)
    #expect(screen(&view, reports).last?.hasPrefix("2-21 of 100 ") == true)
    press([.end], &view)
    #expect(screen(&view, Self.many(30)).last?.hasPrefix("11-30 of 30 ") == true)
    #expect(screen(&view, Self.many(3)).contains { $0.hasPrefix("3 rows by name") })
  }

  @Test(arguments: [
    ("n", "c000"), ("c", "c009"), ("m", "c000"), ("cr", "c000"), ("nr", "c009"), ("l", "c000"),
  ])
  func `keys sort`(keys: String, first: String) {
    var view = TopView()
    type(keys, &view)
    #expect(view.rows(of: Self.many(10)).first?.report.id == first)
  }

  @Test func `a filter is typed, kept and cleared`() {
    let reports = Self.many(10)
    var view = TopView()
    type("/C00x\u{7f}3", &view)
    #expect(view.isTyping && view.filter == "C003")
    #expect(
      screen(&view, reports).contains("Filter: C003_ (Enter keeps it, Esc clears it)"))
    // What ends it elsewhere is text here.
    press([.character("q"), .backspace], &view)
    press([.enter], &view)
    #expect(!view.isTyping)
    #expect(view.rows(of: reports).map(\.report.id) == ["c003"])
    #expect(screen(&view, reports).contains { $0.hasPrefix("1 row with \"C003\" by name") })
    press([.escape], &view)
    #expect(view.rows(of: reports).count == 10)
    for key in TopKey.parse(Array("q\u{4}".utf8)) {
      let goesOn = view.press(key, page: 5)
      #expect(!goesOn)
    }
  }

  @Test func `members are below a row of their application`() {
    var reports = Self.many(4)
    for index in [1, 3] {
      reports[index].app = "shop"
      reports[index].applicationCPU = 600_000_000
      reports[index].cpu.limit = .at(0.25)
    }
    var view = TopView()
    let rows = view.rows(of: reports)
    #expect(rows.map(\.report.nameCell).last == "a-long-name-7d9f8b6c5-3/web")
    #expect(rows.map(\.members) == [nil, nil, 2, nil, nil])
    #expect(rows.map(\.isMember) == [false, false, false, true, true])
    let lines = screen(&view, reports, 132)
    #expect(lines[3].hasPrefix("shop (2 members) ") && lines[3].contains(" app  "))
    #expect(lines[3].contains(" 0.50 ") && lines[4].hasPrefix("  a-long"))
    #expect(rows[2].report.ceiling == 0.6)
    type("a", &view)
    #expect(view.rows(of: reports).count == 4)
  }

  @Test func `any screen has room for something`() {
    for (columns, rows) in [(200, 40), (132, 8), (60, 24), (24, 6), (20, 1), (5, 2)] {
      var view = TopView()
      let lines = screen(&view, Self.many(30), columns, rows)
      #expect(!lines.isEmpty && lines.count <= max(3, rows))
    }
    var view = TopView()
    #expect(screen(&view, Self.many(3), 200).contains { $0.contains("OF ITS MAXIMUM") })
    #expect(screen(&view, Self.many(3), 60).contains { $0.contains("Not shown: SUPERVISOR, APP") })
    #expect(Table.top(&view, of: [], columns: 80, lines: 5, note: "A note.").last == "A note.")
  }

  @Test(arguments: [
    ("\u{1b}[A\u{1b}[B", [TopKey.up, .down]), ("\u{1b}[5~\u{1b}[6~", [.pageUp, .pageDown]),
    ("\u{1b}OH\u{1b}[4~", [.home, .end]), ("\u{1b}", [.escape]),
    ("\u{1b}[15~x", [.character("x")]),
    ("\r\n\u{8}\u{4}\u{1}", [.enter, .enter, .backspace, .endOfInput]),
    ("ä", [.character("ä")]),
  ])
  func `what a terminal sends is keys`(text: String, keys: [TopKey]) {
    #expect(TopKey.parse(Array(text.utf8)) == keys)
  }
}
