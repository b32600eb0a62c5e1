// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import escra_runc

@Suite struct FailureTests {
  @Test func `a failure is one line of JSON in the log`() {
    let line = logLine("cannot open \"a\n\"", time: 1_700_000_000_000_000_000)
    #expect(
      String(decoding: line, as: UTF8.self)
        == #"{"level":"error","msg":"cannot open \"a\n\"","time":"2023-11-14T22:13:20Z"}"# + "\n")
  }

  @Test(arguments: [
    ("plain ü 🐳", "plain ü 🐳"), (#"a"b\c"#, #"a\"b\\c"#), ("\n\r\t", #"\n\r\t"#),
    ("\u{0}\u{1}\u{1F}\u{7F}", "\\u0000\\u0001\\u001f\u{7F}"),
    (String(decoding: [0x61, 0xFF, 0xC3, 0x28] as [UInt8], as: UTF8.self), "a\u{FFFD}\u{FFFD}("),
    ("a\u{301}\r\n", "a\u{301}\\r\\n"),
  ])
  func `any text is a JSON string`(text: String, escaped: String) {
    #expect(jsonEscaped(text).unicodeScalars.elementsEqual(escaped.unicodeScalars))
  }
}
