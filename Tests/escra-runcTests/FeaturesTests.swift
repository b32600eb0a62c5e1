// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Syscalls
@testable import escra_runc

private let version = #""io.escra.version":"\#(EscraVersion.current)""#

private let unsafe = "potentiallyUnsafeConfigAnnotations"

private func max(_ version: String) -> String { #""ociVersionMax":"\#(version)""# }

private func edited(_ document: String) -> String {
  String(decoding: featuresWithOurs(Array(document.utf8)), as: UTF8.self)
}

@Suite struct FeaturesTests {
  @Test(arguments: [
    (#"{"a":1,"annotations":{"x":"}"}}"#, #"{"a":1,"annotations":{\#(version),"x":"}"}}"#),
    (#"{"annotations":{}}"#, #"{"annotations":{\#(version)}}"#),
    (#"{"annotations": null, "b": 1}"#, #"{"annotations": {\#(version)}, "b": 1}"#),
    ("{}", #"{"annotations":{\#(version)}}"#),
    ("{\n  \"a\": [1, {}]\n}\n", "{\"annotations\":{\(version)},\n  \"a\": [1, {}]\n}\n"),
    (
      "{ \"annotations\" : {\n    \"x\\\"\": \"y\"\n  }\n}",
      "{ \"annotations\" : {\(version),\n    \"x\\\"\": \"y\"\n  }\n}"
    ),
    (
      #"{"linux":{"annotations":{"no":"1"}},"annotations":{"a":"b"}}"#,
      #"{"linux":{"annotations":{"no":"1"}},"annotations":{\#(version),"a":"b"}}"#
    ),
  ])
  func `our version joins the annotations, and no other byte changes`(
    document: String, result: String
  ) {
    #expect(edited(document) == result)
  }

  /// The members, and what becomes of them.
  @Test(arguments: [
    (#""\#(unsafe)":null,\#(max("1.2"))"#, #""\#(unsafe)":["io.escra."],\#(max("1.2"))"#),
    (#""\#(unsafe)":["a"],\#(max("1.10"))"#, #""\#(unsafe)":["io.escra.","a"],\#(max("1.10"))"#),
    (#"\#(max("2.0-rc1")),"\#(unsafe)":[]"#, #"\#(max("2.0-rc1")),"\#(unsafe)":["io.escra."]"#),
    (
      #""\#(unsafe)":["a"],\#(max("1.1.0+dev"))"#,
      #""\#(unsafe)":["io.escra.","a"],\#(max("1.1.0+dev"))"#
    ),
    (max("1.0.2-dev"), max("1.0.2-dev")), (max("1.1.9"), max("1.1.9")), (max("x.y"), max("x.y")),
    (#""ociVersionMax":12"#, #""ociVersionMax":12"#),
  ])
  func `our prefix is declared where the document or its version has the member`(
    members: String, result: String
  ) {
    let annotations = #""annotations":{\#(version)}"#
    #expect(edited(#"{"annotations":{},\#(members)}"#) == "{\(annotations),\(result)}")
  }

  @Test func `a version that has the member gets it`() {
    #expect(
      edited(#"{"annotations":{},\#(max("1.2.0"))}"#)
        == #"{"\#(unsafe)":["io.escra."],"annotations":{\#(version)},\#(max("1.2.0"))}"#)
  }

  @Test(arguments: [
    "", " ", "null", "[]", "[{}]", "No help topic for 'features'\n", "{", "{\"a\"", "{\"a\":",
    "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":\"}", "{\"a\":\"\\",
    "{\"a\":[}", "{\"a\":{\"b\":[1}", "{} {}", "{}x", "{\"a\":}", "{\"a\":1 2}", "{,}",
  ])
  func `what is no JSON object is passed on as it is`(document: String) {
    #expect(edited(document) == document)
  }

  @Test(arguments: [#"{"annotations":"x"}"#, #"{"annotations":["x"]}"#, #"{"annotations":7}"#])
  func `a member of another type is left alone`(document: String) {
    #expect(edited(document) == document)
  }

  /// Go, which reads these documents, stops at 10,000 levels.
  @Test(arguments: [(9_000, true), (200_000, false)])
  func `deep nesting costs no stack`(levels: Int, isEdited: Bool) {
    let deep =
      "\"a\":" + String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
    let expected = isEdited ? "{\"annotations\":{\(version)},\(deep)}" : "{\(deep)}"
    #expect(edited("{\(deep)}") == expected)
  }
}
