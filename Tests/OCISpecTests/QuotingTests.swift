// SPDX-License-Identifier: Apache-2.0
import OCISpec
import Testing

@Suite struct QuotingTests {
  @Test(arguments: [
    ("500m", #""500m""#), ("", #""""#), ("a\"b", #""a\"b""#), (#"a\b"#, #""a\\b""#),
    ("a b", #""a\u{20}b""#), ("a\nb\u{1b}[2J", #""a\u{a}b\u{1b}[2J""#),
    ("a\u{202e}b", #""a\u{202e}b""#), ("\0", #""\u{0}""#),
  ])
  func `escapes what could mislead a reader`(value: String, shown: String) {
    #expect(quoted(value) == shown)
  }

  @Test func `cuts what is longer than 64 characters`() {
    let exact = String(repeating: "a", count: 64)
    #expect(quoted(exact) == "\"\(exact)\"")
    #expect(quoted(exact + "a") == "\"\(exact)...\"")
    #expect(quoted(String(repeating: "\n", count: 100)).utf8.count <= 64 + 5)
  }
}
