// SPDX-License-Identifier: Apache-2.0
import Syscalls
import Testing

@testable import escra_runc

private let version = #""io.escra.version": "\#(EscraVersion.current)""#

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
    (
      #"{"ociVersionMax":"1.2.0","annotations":{}}"#,
      #"{"ociVersionMax":"1.2.0","annotations":{\#(version)},"potentiallyUnsafeConfigAnnotations": ["io.escra."]}"#
    ),
    (
      #"{"potentiallyUnsafeConfigAnnotations":["bundle","org."],"ociVersionMax":"1.10","annotations":{}}"#,
      #"{"potentiallyUnsafeConfigAnnotations":["bundle","org.","io.escra."],"ociVersionMax":"1.10","annotations":{\#(version)}}"#
    ),
    (
      #"{"ociVersionMax":"2.0.0-rc1","potentiallyUnsafeConfigAnnotations":[],"annotations":{}}"#,
      #"{"ociVersionMax":"2.0.0-rc1","potentiallyUnsafeConfigAnnotations":["io.escra."],"annotations":{\#(version)}}"#
    ),
    (
      #"{"ociVersionMax":"1.0.2-dev","annotations":{}}"#,
      #"{"ociVersionMax":"1.0.2-dev","annotations":{\#(version)}}"#
    ),
    (
      #"{"ociVersionMax":12,"annotations":{}}"#,
      #"{"ociVersionMax":12,"annotations":{\#(version)}}"#
    ),
    (
      #"{"ociVersionMax":"x.y","annotations":{}}"#,
      #"{"ociVersionMax":"x.y","annotations":{\#(version)}}"#
    ),
  ])
  func `our prefix is declared where the document's version has the member`(
    document: String, result: String
  ) {
    #expect(edited(document) == result)
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
