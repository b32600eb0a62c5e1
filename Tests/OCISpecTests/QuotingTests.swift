// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec

@Suite struct QuotingTests {
  @Test(arguments: [
    ("500m", #""500m""#), ("", #""""#), ("a\"b", #""a\"b""#), (#"a\b"#, #""a\\b""#),
    ("a b", #""a\u{20}b""#), ("a\nb\u{1b}[2J", #""a\u{a}b\u{1b}[2J""#),
    ("a\u{202e}b", #""a\u{202e}b""#), ("\0", #""\u{0}""#),
  ])
  func `escapes what could mislead a reader`(value: String, shown: String) {
    #expect(quoted(value) == shown)
  }

  @Test(arguments: [
    ("it is \"so\"", "it is \"so\""), ("a\nb\r\u{1b}[2J", #"a\u{a}b\u{d}\u{1b}[2J"#),
    ("\u{7f}\u{9b}1m\u{2028}\u{202e}", #"\u{7f}\u{9b}1m\u{2028}\u{202e}"#), ("ü", #"\u{fc}"#),
  ])
  func `a sentence is one line of printable ASCII`(text: String, shown: String) {
    #expect(printable(text) == shown)
  }

  @Test func `a sentence has an end`() {
    let text = String(repeating: "a", count: 5000)
    #expect(printable(text) == String(repeating: "a", count: 4096) + "...")
  }

  @Test func `cuts what is longer than 64 characters`() {
    let exact = String(repeating: "a", count: 64)
    #expect(quoted(exact) == "\"\(exact)\"")
    #expect(quoted(exact + "a") == "\"\(exact)...\"")
    #expect(quoted(String(repeating: "\n", count: 100)).utf8.count <= 64 + 5)
  }
}
