// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Quantities

@Suite struct KeyedTextTests {
  @Test func `any value reads back, byte for byte`() throws {
    var random = SeededGenerator(seed: 6)
    for _ in 0..<2000 {
      var written = KeyValueText()
      var values: [String: String] = [:]
      for name in ["a", "b", "c", "d"] { values[name] = random.text() }
      for (name, value) in values { written[name] = value }
      let read = KeyValueText(written.text)
      for (name, value) in values {
        try #require(read[name].map { Array($0.utf8) } == Array(value.utf8))
      }
      try #require(read.text.utf8.elementsEqual(written.text.utf8))
    }
  }

  @Test func `any number reads back`() {
    var keyed = KeyValueText()
    for number in [0, -1, Int64.min, .max] {
      keyed[int: "n"] = number
      #expect(KeyValueText(keyed.text)[int: "n"] == number)
    }
    keyed[int: "n"] = nil
    #expect(keyed.text == "")
  }

  @Test(arguments: ["", "many", "1.5", "0x1", " 1", "9223372036854775808"])
  func `what is no number is none`(value: String) {
    var keyed = KeyValueText()
    keyed["n"] = value
    #expect(KeyValueText(keyed.text)[int: "n"] == nil)
  }

  @Test func `lines are sorted, and one a name`() {
    var keyed = KeyValueText()
    keyed["root"] = "/run/runc"
    keyed["id"] = "a\nb%"
    keyed["app"] = nil
    #expect(keyed.text == "id=a%0Ab%25\nroot=/run/runc\n")
  }

  @Test func `what is no line of ours is passed over, and the last of a name wins`() {
    let keyed = KeyValueText("\n\nno equals sign\n=nameless\na=1\n# b=2\na==3\nc=%zz%4\nd=%41%f")
    #expect(keyed["a"] == "=3")
    #expect(keyed["b"] == nil)
    #expect(keyed["c"] == "%zz%4")
    #expect(keyed["d"] == "A%f")
  }
}
