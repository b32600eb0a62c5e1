// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups

@Suite struct MemoryMeterTests {
  @Test(
    arguments: [
      ("a 1\nb 2\n", "b ", 2), ("a 1\nb 2", "a ", 1), ("ab 1\n", "b ", nil), ("", "a ", nil),
      ("MemAvailable:   12 kB\n", "MemAvailable:", 12), ("a x\n", "a ", nil),
      ("inactive_file 1\ntotal_inactive_file 2\n", "total_inactive_file ", 2),
    ] as [(String, String, Int64?)])
  func `finds the number behind a name that begins a line`(
    text: String, name: String, number: Int64?
  ) {
    #expect(MemoryMeter.number(behind: name, in: text) == number)
  }
}
