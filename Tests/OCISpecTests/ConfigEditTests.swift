// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import OCISpec
@testable import Quantities

@Suite struct ConfigEditTests {
  @Test(arguments: [
    (#"/a/escra0/b"#, #""/a/escra0/b""#), ("/a b/\"c\\", #""/a\u0020b/\"c\\""#),
  ])
  func `a cgroupsPath is replaced, and put back`(path: String, literal: String) throws {
    let before = #"{"linux":{"cgroupsPath" : "/a/b","resources":{"cpu":{"quota":5}}}}"#
    let edit = ConfigEdit(cpuQuota: 7, cgroupsPath: path)
    let document = try ConfigDocument(Array(before.utf8))
    let edited = edit.applied(to: document)
    let text = #"{"linux":{"cgroupsPath" : \#(literal),"resources":{"cpu":{"quota":7}}}}"#
    #expect(String(decoding: edited, as: UTF8.self) == text)
    #expect(try ConfigDocument(edited).cgroupsPath == path)
    let record = EditRecord(of: edited, members: edit.members)
    #expect(EditRecord(record.text) == record)
    #expect(
      ConfigEdit.undo(edit.members, in: edited, original: Array(before.utf8))
        == Array(before.utf8))
  }

  @Test(arguments: [
    (#"{}"#, #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":7}}}}"#),
    (
      #"{"linux":{},"a":1}"#,
      #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":7}}},"a":1}"#
    ),
    (
      #"{"linux":{"resources":{}}}"#,
      #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":7}}}}"#
    ),
    (
      #"{"linux":{"resources":{"memory":{"limit":1}}}}"#,
      #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":7}}}}"#
    ),
    (
      #"{"linux":{"cgroupsPath":""}}"#,
      #"{"linux":{"resources":{"memory":{"limit":7}},"cgroupsPath":"/a"}}"#
    ),
    (
      #"{"linux":{"cgroupsPath":null,"resources":null}}"#,
      #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":7}}}}"#
    ),
  ])
  func `a cgroupsPath is added where there is none`(before: String, after: String) throws {
    let config = try document(before)
    let edit = ConfigEdit(memoryLimit: 7, cgroupsPath: "/a")
    #expect(text(edit.applied(to: config)) == after)
    let undone = ConfigEdit.undo(edit.members, in: Array(after.utf8), original: config.bytes)
    #expect(try undone.map { try ConfigDocument($0).cgroupsPath ?? "" } == "")
  }

  @Test(arguments: [
    (#"{}"#, #"{"cpu":{"quota":5},"memory":{"limit":7,"swap":9}}"#),
    (#"{"memory":{"limit":1,"swap":2}}"#, #"{"cpu":{"quota":5},"memory":{"limit":7,"swap":9}}"#),
    (#"{"cpu":{"quota":1}}"#, #"{"memory":{"limit":7,"swap":9},"cpu":{"quota":5}}"#),
    (
      #"{"cpu":{},"memory":{"swap":1}}"#,
      #"{"cpu":{"quota":5},"memory":{"limit":7,"swap":9}}"#
    ),
  ])
  func `an update gets memory limits beside those of the CPU`(before: String, after: String) throws
  {
    let update = try ResourcesUpdate(Array(before.utf8))
    let edited = update.applying(ConfigEdit(cpuQuota: 5, memoryLimit: 7, memorySwap: 9))
    #expect(String(decoding: edited, as: UTF8.self) == after)
  }

  @Test(arguments: [
    (
      #"{"linux":{"resources":{"cpu":{"quota":1,"period":2}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#
    ),
    (
      #"{"linux":{"resources":{"cpu":{"period" : 2 , "shares":3, "quota" : -1 } } } }"#,
      #"{"linux":{"resources":{"cpu":{"period" : 100000 , "shares":3, "quota" : 50000 } } } }"#
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":1}}}}"#,
      #"{"linux":{"resources":{"cpu":{"period":100000,"quota":50000}}}}"#
    ),
    (
      #"{"linux":{"resources":{"cpu":{"shares":1}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000,"shares":1}}}}"#
    ),
    (
      "{\"linux\":{\"resources\":{\"cpu\":{ \n}}}}",
      "{\"linux\":{\"resources\":{\"cpu\":{\"quota\":50000,\"period\":100000 \n}}}}"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":null,"period":null}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#
    ),
    (
      #"{"linux":{"resources":{"cpu":null,"memory":{}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000},"memory":{}}}}"#
    ),
    (
      #"{"linux":{"resources":{"memory":{}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000},"memory":{}}}}"#
    ),
    (
      #"{"linux":{"resources":{}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#
    ),
    (
      #"{"linux":{"resources":null}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#
    ),
    (
      #"{"linux":{"x":[]}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}},"x":[]}}"#
    ),
    (
      #"{"linux":null,"a":18446744073709551615}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}},"a":18446744073709551615}"#
    ),
    (#"{}"#, #"{"linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#),
    (
      " {\"a\":1} trailing",
      " {\"linux\":{\"resources\":{\"cpu\":{\"quota\":50000,\"period\":100000}}},\"a\":1} trailing"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":1,"quota":2}}}}"#,
      #"{"linux":{"resources":{"cpu":{"period":100000,"quota":1,"quota":50000}}}}"#
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":1}}},"Linux":{"resources":{"CPU":{"Period":2}}}}"#,
      #"{"linux":{"resources":{"cpu":{"quota":50000}}},"#
        + #""Linux":{"resources":{"CPU":{"Period":100000}}}}"#
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":1}}},"linux":null}"#,
      #"{"linux":{"resources":{"cpu":{"quota":1}}},"#
        + #""linux":{"resources":{"cpu":{"quota":50000,"period":100000}}}}"#
    ),
  ])
  func `splices a CPU limit in`(_ before: String, _ after: String) throws {
    let edit = ConfigEdit.limit(CFSBandwidth(quota: 50_000, period: 100_000))
    #expect(text(edit.applied(to: try document(before))) == after)
  }

  @Test func `takes a quota away and writes CPU sets`() throws {
    let config = try document(#"{"linux":{"resources":{"cpu":{"quota":5,"mems":""}}}}"#)
    #expect(
      text(ConfigEdit(cpuQuota: -1).applied(to: config))
        == #"{"linux":{"resources":{"cpu":{"quota":-1,"mems":""}}}}"#)
    #expect(
      text(ConfigEdit(cpus: "2-3", mems: "0").applied(to: config))
        == #"{"linux":{"resources":{"cpu":{"cpus":"2-3","quota":5,"mems":"0"}}}}"#)
  }

  @Test func `an edit of nothing changes nothing`() throws {
    #expect(ConfigEdit().applied(to: try document(runcSpec)) == Array(runcSpec.utf8))
  }

  @Test func `runc's own template gains only the limit`() throws {
    let config = try document(runcSpec)
    let edited = text(ConfigEdit.limit(CFSBandwidth(quota: 7000)).applied(to: config))
    let inserted = #""cpu":{"quota":7000,"period":100000},"#
    #expect(edited.contains(inserted))
    #expect(edited.replacing(inserted, with: "") == runcSpec)
    #expect(try document(edited).declared.cpu == CFSBandwidth(quota: 7000))
  }

  /// A document and the one that an edit must make of it, written side by side.
  private struct Pair {
    var random: SeededGenerator
    var before = ""
    var after = ""

    mutating func both(_ text: String) {
      before += text
      after += text
    }

    mutating func space() {
      both([" ", "\n", "\t", "", "", "  "].randomElement(using: &random) ?? "")
    }

    /// Members in any order; those that are no object's place are junk that must survive.
    mutating func object(_ members: [(inout Pair) -> Void], inserted: String) {
      let junk: [String] = [
        #""x":18446744073709551615"#, #""cpu ":{"quota":1}"#, #""é\u00e9":[{"quota":[]}]"#,
        #""Resource":"}{\"""#, #""limits":1.50e+3"#, #""" : null"#,
      ]
      var all = members
      for text in junk where Bool.random(using: &random) {
        all.append { pair in pair.both(text) }
      }
      all.shuffle(using: &random)
      both("{")
      after += inserted.isEmpty || all.isEmpty ? inserted : inserted + ","
      space()
      for (index, member) in all.enumerated() {
        if index > 0 { both(",") }
        space()
        member(&self)
        space()
      }
      both("}")
    }

    mutating func name(_ name: String) {
      let spelt = Bool.random(using: &random) ? name : name.uppercased()
      both("\"\(spelt)\"")
      space()
      both(":")
      space()
    }

    /// The object of a level: absent, null, or there, and then perhaps with the next level in it.
    mutating func level(_ names: ArraySlice<String>, new: String) {
      guard let first = names.first else { return leaf() }
      let rest = names.dropFirst()
      let inner =
        rest.isEmpty
        ? new : rest.reversed().reduce(new) { "\"\($1)\":{\($0)}" }
      switch Int.random(in: 0..<4, using: &random) {
      case 0: object([], inserted: "\"\(first)\":{\(inner)}")
      case 1:
        object(
          [
            { pair in
              pair.name(first)
              pair.before += "null"
              pair.after += "{\(inner)}"
            }
          ], inserted: "")
      default:
        object(
          [
            { pair in
              pair.name(first)
              pair.level(rest, new: new)
            }
          ], inserted: "")
      }
    }

    mutating func leaf() {
      var members: [(inout Pair) -> Void] = []
      var missing: [String] = []
      for (name, new) in [("quota", "50000"), ("period", "100000")] {
        if Bool.random(using: &random) {
          missing.append("\"\(name)\":\(new)")
        } else {
          let old = ["null", "1", "20000"].randomElement(using: &random) ?? ""
          members.append { pair in
            pair.name(name)
            pair.before += old
            pair.after += new
          }
        }
      }
      object(members, inserted: missing.joined(separator: ","))
    }
  }

  @Test func `leaves every other byte of two thousand random documents alone`() throws {
    let limit = CFSBandwidth(quota: 50_000, period: 100_000)
    var seen: Set<String> = []
    for seed in 0..<2000 {
      var pair = Pair(random: SeededGenerator(seed: UInt64(seed)))
      pair.level(["linux", "resources", "cpu"], new: #""quota":50000,"period":100000"#)
      let config = try document(pair.before)
      let edited = ConfigEdit.limit(limit).applied(to: config)
      #expect(text(edited) == pair.after)
      #expect(try document(pair.after).declared.cpu == limit)
      // What it already says is not written differently.
      #expect(ConfigEdit.limit(limit).applied(to: try document(pair.after)) == edited)
      seen.insert(pair.before)
    }
    #expect(seen.count > 1000)
  }
}
