// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Syscalls
@testable import escra_runc

private let version = #""io.escra.version": "\#(EscraVersion.current)""#

private let unsafe = "potentiallyUnsafeConfigAnnotations"

private func max(_ version: String) -> String { #""ociVersionMax":"\#(version)""# }

private func edited(_ document: String) -> String {
  String(decoding: featuresWithOurs(Array(document.utf8)), as: UTF8.self)
}

@Suite struct FeaturesTests {
  @Test(arguments: [
    (#"{"a":1,"annotations":{"x":"}"}}"#, #"{"a":1,"annotations":{"x":"}",\#(version)}}"#),
    (#"{"annotations":{}}"#, #"{"annotations":{\#(version)}}"#),
    (#"{"annotations": null, "b": 1}"#, #"{"annotations": {\#(version)}, "b": 1}"#),
    ("{}", #"{"annotations": {\#(version)}}"#),
    ("{\n  \"a\": [1, {}]\n}\n", "{\n  \"a\": [1, {}],\n  \"annotations\": {\(version)}\n}\n"),
    (
      "{ \"annotations\" : {\n    \"x\\\"\": \"y\"\n  }\n}",
      "{ \"annotations\" : {\n    \"x\\\"\": \"y\",\n    \(version)\n  }\n}"
    ),
    (
      #"{"linux":{"annotations":{"no":"1"}},"annotations":{"a":"b"}}"#,
      #"{"linux":{"annotations":{"no":"1"}},"annotations":{"a":"b",\#(version)}}"#
    ),
  ])
  func `our version joins the annotations, and no other byte changes`(
    document: String, result: String
  ) {
    #expect(edited(document) == result)
  }

  @Test(arguments: [
    (#""ociVersionMax":"1.2.0""#, #""ociVersionMax":"1.2.0","\#(unsafe)": ["io.escra."]"#),
    (#""\#(unsafe)":null,\#(max("1.2"))"#, #""\#(unsafe)":["io.escra."],\#(max("1.2"))"#),
    (#""\#(unsafe)":["a"],\#(max("1.10"))"#, #""\#(unsafe)":["a","io.escra."],\#(max("1.10"))"#),
    (#"\#(max("2.0-rc1")),"\#(unsafe)":[]"#, #"\#(max("2.0-rc1")),"\#(unsafe)":["io.escra."]"#),
    (
      #""\#(unsafe)":["a"],\#(max("1.1.0+dev"))"#,
      #""\#(unsafe)":["a","io.escra."],\#(max("1.1.0+dev"))"#
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

  @Test func `deep nesting costs no stack`() {
    let deep = String(repeating: "[", count: 200_000) + String(repeating: "]", count: 200_000)
    #expect(edited("{\"a\":\(deep)}") == "{\"a\":\(deep),\"annotations\": {\(version)}}")
  }
}
