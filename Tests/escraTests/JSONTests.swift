// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import escra

@Suite struct JSONTests {
  @Test(arguments: [
    ("web", #""web""#), (#"a"b\c"#, #""a\"b\\c""#), ("a\nb\tc\rd", #""a\nb\tc\rd""#),
    ("\0\u{1f}", #""\u0000\u001f""#), ("\u{1b}[2J", #""\u001b[2J""#),
    ("\u{7f}\u{9b}", #""\u007f\u009b""#), ("ä€😀/", #""ä€😀/""#), ("", #""""#),
  ])
  func `strings are escaped`(value: String, text: String) {
    #expect(JSON.string(value).text == text)
  }

  @Test(arguments: [
    (JSON.null, "null"), (.bool(true), "true"), (.bool(false), "false"),
    (.integer(.max), "9223372036854775807"), (.integer(.min), "-9223372036854775808"),
    (.number(0.05), "0.05"), (.number(1), "1"), (.number(1e-7), "0"), (.number(.nan), "0"),
    (.array([]), "[]"), (.object([]), "{}"), (.optional(Double?.none), "null"),
    (.optional(Int32?.none), "null"), (.optional(String?.none), "null"),
    (.optional(Int32(7)), "7"), (.optional("x"), #""x""#),
  ])
  func `values`(value: JSON, text: String) {
    #expect(value.text == text)
  }

  @Test func `a line of JSON lines has no line break`() {
    let value = JSON.object([("a", .array([.null, .integer(1)])), ("b", .object([]))])
    #expect(value.line == #"{"a": [null,1],"b": {}}"#)
  }

  @Test func `lists are indented, and members keep their order`() {
    let value = JSON.array([.object([("b", .integer(1)), ("a", .array([.null, .bool(true)]))])])
    #expect(
      value.text == """
        [
          {
            "b": 1,
            "a": [
              null,
              true
            ]
          }
        ]
        """)
  }
}
