// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Syscalls

struct ProgramTextTests {
  @Test func `finds the text of files, and nothing that may have been written`() {
    #expect(
      ProgramText.range(
        ofText: "7f00-7f40 r-xp 00001000 fe:00 12                         /usr/lib/libc.so.6")
        == 0x7f00..<0x7f40)
    for line in [
      "7f00-7f40 rw-p 00001000 fe:00 12    /usr/lib/libc.so.6",
      "7f00-7f40 r--p 00001000 fe:00 12    /usr/lib/libc.so.6",
      "7f00-7f40 rwxp 00001000 fe:00 12    /usr/lib/libc.so.6",
      "7f00-7f40 r-xp 00000000 00:00 0     [vdso]", "7f00-7f40 r-xp 00000000 00:00 0 ", "",
    ] { #expect(ProgramText.range(ofText: line) == nil, "\(line)") }
  }

  @Test func `goes on after its text was unmapped`() {
    ProgramText.release()
    #expect((1...1000).reduce(0, +) == 500_500)
  }
}
