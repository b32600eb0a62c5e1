// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import OCISpec

@Suite struct JSONScannerTests {
  private func scan(_ bytes: [UInt8]) throws(JSONError) -> JSONSpans {
    try bytes.withUnsafeBufferPointer { buffer throws(JSONError) in
      try JSONScanner.scan(UnsafeRawBufferPointer(buffer), as: .document)
    }
  }

  @Test(arguments: [
    "{}", " \t\r\n{ } \n", "[]", "null", "true", "-0", "0", "1.5e+300", "1E9", "\"\"",
    #"{"a":[1,{"b":[]},"x",null,true,false]}"#,
    #"{"a":18446744073709551615,"b":-99999999999999999999999}"#,
    #""\"\\\/\b\f\n\r\t\u00e9\uD800""#,
    "\"\u{7f}\"",
    // json.Decoder, which runc reads with, leaves what follows the value alone.
    "{} garbage", "{}}", "[1]]",
  ])
  func `accepts what runc accepts`(_ json: String) throws {
    _ = try scan(Array(json.utf8))
  }

  @Test func `accepts bytes in strings that are not UTF-8`() throws {
    _ = try scan(Array("{\"a\":\"".utf8) + [0xff, 0xfe, 0x80] + Array("\"}".utf8))
  }

  @Test(arguments: [
    ("", 0, JSONError.Reason.truncated), ("  ", 2, .truncated), ("{", 1, .truncated),
    ("[1,", 3, .truncated), ("{\"a\"", 4, .truncated), ("{\"a\":", 5, .truncated),
    ("{\"a\":1", 6, .truncated),
    ("{a:1}", 1, .key), ("{1:1}", 1, .key), ("{\"a\":1,}", 7, .key), ("{,}", 1, .key),
    ("{\"a\" 1}", 5, .colon), ("{\"a\",1}", 4, .colon),
    ("[1 2]", 3, .separator), ("{\"a\":1 \"b\":2}", 7, .separator), ("[1}", 2, .separator),
    ("{\"a\":1]", 6, .separator), ("{\"a\":01}", 5, .number), ("{\"a\":0x1}", 6, .separator),
    ("[1,]", 3, .value), ("[,1]", 1, .value), ("{\"a\":}", 5, .value), ("'a'", 0, .value),
    ("\u{feff}{}", 0, .value), ("[NaN]", 1, .value), ("// c\n{}", 0, .value),
    ("[+1]", 1, .value), ("[.5]", 1, .value),
    ("[-]", 1, .number), ("[1.]", 1, .number), ("[1e]", 1, .number), ("[-01]", 1, .number),
    ("[tru]", 1, .literal), ("[nul", 1, .literal), ("[fals3]", 1, .literal),
    ("[\"a", 1, .unclosedString), ("[\"a\\", 1, .unclosedString),
    ("[\"a\\u00", 1, .unclosedString), ("[\"a\\\"]", 1, .unclosedString),
    ("[\"a\nb\"]", 3, .control), ("[\"\u{0}\"]", 2, .control),
    ("[\"\\x\"]", 2, .escape), ("[\"\\u12g4\"]", 2, .escape), ("[\"\\'\"]", 2, .escape),
    ("\u{0}{}", 0, .value), ("{}".replacing("}", with: "\u{b}}"), 1, .key),
  ])
  func `refuses what runc refuses and says where`(
    _ json: String, _ offset: Int, _ reason: JSONError.Reason
  ) {
    #expect(throws: JSONError(reason, at: offset)) { try scan(Array(json.utf8)) }
  }

  @Test func `an error reads as the end of a sentence`() {
    #expect(
      JSONError(.unclosedString, at: 812).description
        == "is not valid JSON at byte 812: a string is not closed")
  }

  @Test func `nests as deep as Go does and no deeper`() throws {
    func nested(_ depth: Int) -> [UInt8] {
      Array(repeating: UInt8(ascii: "["), count: depth)
        + Array(repeating: UInt8(ascii: "]"), count: depth)
    }
    _ = try scan(nested(10_000))
    #expect(throws: JSONError(.depth, at: 10_000)) { try scan(nested(10_001)) }
    #expect(throws: JSONError(.depth, at: 10_000)) { try scan(nested(1_000_000)) }
    let objects = Array(String(repeating: "{\"linux\":", count: 1_000_000).utf8)
    #expect(throws: JSONError(.depth, at: 90_000)) { try scan(objects) }
  }

  @Test func `a mix of objects and arrays closes in the order it opened`() throws {
    let open = String(repeating: "[{\"a\":", count: 300)
    let close = String(repeating: "}]", count: 300)
    _ = try scan(Array((open + "1" + close).utf8))
    #expect(throws: JSONError.self) {
      try scan(Array((open + "1" + close.dropFirst(2) + "]}").utf8))
    }
  }

  @Test func `refuses a real document that is cut at any byte`() throws {
    let bytes = Array(runcSpec.utf8)
    _ = try scan(bytes)
    let end = try #require(bytes.lastIndex(of: UInt8(ascii: "}")))
    for count in 0...end {
      // A buffer of its own, so that a sanitizer sees a read behind its end.
      #expect(throws: JSONError.self) { try scan(Array(bytes[..<count])) }
    }
  }

  @Test func `survives a real document with any byte overwritten`() throws {
    var random = SeededGenerator(seed: 1)
    let original = Array(runcSpec.utf8)
    var refused = 0
    for index in original.indices {
      var bytes = original
      bytes[index] = UInt8.random(in: 0...255, using: &random)
      do throws(JSONError) { _ = try scan(bytes) } catch {
        refused += 1
        #expect(error.offset <= bytes.count)
      }
    }
    #expect(refused > 0 && refused < original.count)
  }

  @Test func `walks 20 MB`() throws {
    let filler = "\"" + String(repeating: "a", count: 1000) + "\","
    let json =
      "{\"a\":[" + String(repeating: filler, count: 20_000)
      + "1],\"linux\":{\"resources\":{\"cpu\":{\"quota\":7}}}}"
    let spans = try scan(Array(json.utf8))
    #expect(spans[.quota].end == json.utf8.count - 4)
  }
}
