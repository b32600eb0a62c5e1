// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Testing

@testable import escra

@Suite struct ChoiceTests {
  private static let three = ["web", "webby", "db"].map { Candidate(id: $0, root: "/a") }

  @Test(arguments: [("web", 0), ("webb", 1), ("webby", 1), ("d", 2)])
  func `an id, or the beginning of one`(wanted: String, index: Int) throws {
    #expect(try choose(wanted, among: Self.three) == index)
  }

  @Test(arguments: [
    ("we", "\"we\" is the beginning of 2 ids; type more of it: web, webby"),
    (
      "x",
      "no supervised container is called \"x\" or has an id that begins so; escra ps lists them"
    ),
    ("", "no supervised container is called \"\" or has an id that begins so; escra ps lists them"),
  ])
  func `anything else is a sentence`(wanted: String, sentence: String) {
    #expect(throws: Complaint(sentence)) {
      try choose(wanted, among: Self.three)
    }
  }

  @Test func `the same id under two roots needs the root`() throws {
    let same = [Candidate(id: "web", root: "/b"), Candidate(id: "web", root: "/a")]
    #expect(throws: Complaint("2 containers are called \"web\"; name one with --root: /a, /b")) {
      try choose("web", among: same)
    }
    #expect(try choose("web", root: "/a", among: same) == 1)
    #expect(throws: Complaint.self) { try choose("web", root: "/c", among: same) }
  }

  @Test func `of two instances of one container it is the later one`() throws {
    let twice = [Candidate(id: "web", root: "/a"), Candidate(id: "web", root: "/a")]
    #expect(try choose("web", among: twice) == 1)
  }

  @Test func `a name counts after a whole id and before the beginning of one`() throws {
    let pod = ContainerName(pod: "shop", container: "web", namespace: "prod")
    let all = [
      Candidate(id: "aa11", root: "/a", name: ContainerName("web")),
      Candidate(id: "web1", root: "/a", name: ContainerName("db")),
      Candidate(id: "db", root: "/a", name: ContainerName("other")),
      Candidate(id: "bb22", root: "/a", name: pod),
    ]
    for (wanted, index) in [
      ("web", 0), ("web1", 1), ("we", 1), ("db", 2), ("shop/web", 3), ("prod/shop/web", 3),
    ] {
      #expect(try choose(wanted, among: all) == index, "\(wanted)")
    }
    #expect(throws: Complaint.self) { try choose("shop", among: all) }
  }

  @Test func `two equal names are told with both ids`() {
    let two = ["bb22", "aa11"].map {
      Candidate(id: $0, root: "/a", name: ContainerName("web"))
    }
    #expect(
      throws: Complaint("2 containers are called \"web\"; name one by its id: aa11, bb22")
    ) { try choose("web", among: two) }
  }

  @Test func `a root is the same one however it is typed`() throws {
    let release = try ReleaseCommand.parse(["web", "--root", "/run//runc/"])
    #expect(release.which.root == "/run/runc")
  }

  @Test func `a quantity that is none is named with its option`() {
    for (option, text) in [("--cpu", "2x"), ("--cpu", "0"), ("--memory", "x")] {
      let refusal = #expect(throws: (any Error).self) {
        _ = try AppSetCommand.parse(["shop", option, text])
      }
      let said = refusal.map { AppSetCommand.message(for: $0) } ?? ""
      #expect(said.contains("\(option) \"\(text)\" is"))
    }
  }

  @Test func `a time that is none says what one is`() {
    let refusal = #expect(throws: (any Error).self) {
      _ = try TopCommand.parse(["--interval", "1m"])
    }
    let said = refusal.map { TopCommand.message(for: $0) } ?? ""
    #expect(said.contains("1m") && said.contains("write a time such as 500ms or 2s"))
  }
}
