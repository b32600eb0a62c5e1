// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Syscalls

@Suite struct FileDescriptorTests {
  @Test func `an error names its step, its subject and the symbol of its errno`() {
    #expect(throws: SystemError("open", "/nowhere/at/all", errno: ENOENT)) {
      _ = try FileDescriptor.open("/nowhere/at/all", O_RDONLY)
    }
    #expect(
      SystemError("open", "/nowhere", errno: ENOENT).description == "cannot open /nowhere (ENOENT)")
  }

  @Test func `a call is repeated for as long as it is interrupted`() throws {
    var calls = 0
    let result: Int = try retrying("read", "a test") {
      calls += 1
      if calls < 3 {
        errno = EINTR
        return -1
      }
      return 7
    }
    #expect(result == 7)
    #expect(calls == 3)
  }

  @Test func `a file is read whole, and refused when it is longer than the limit`() throws {
    // __O_TMPFILE | O_DIRECTORY (open(2)): a macro that Swift cannot import.
    let file = try FileDescriptor.open("/tmp", 0o20_200_000 | O_RDWR)
    try file.write([UInt8](repeating: 65, count: 100_000))
    lseek(file.number, 0, SEEK_SET)
    #expect(try file.readAll().count == 100_000)
    lseek(file.number, 0, SEEK_SET)
    #expect(throws: SystemError.self) { try file.readAll(limit: 99_999) }
  }

  private static let numbers: [(String, Int64?)] = [
    ("50000\n", 50_000), ("-1\n", -1), ("0", 0), ("9223372036854775807\n", .max), ("", nil),
    ("\n", nil), ("-\n", nil), ("max\n", nil), ("5 0\n", nil), ("12x", nil),
    ("9223372036854775808\n", nil), ("99999999999999999999999999999999999999\n", nil),
  ]

  @Test(arguments: numbers)
  func `a file with one number is that number`(text: String, number: Int64?) throws {
    let file = try FileDescriptor.open("/tmp", 0o20_200_000 | O_RDWR)
    try file.write(text)
    #expect(try file.integer(subject: "a file") == number)
  }

  @Test func `wall clock time is written as RFC 3339`() {
    #expect(rfc3339(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z")
  }

  @Test func `nothing that is opened is left to a program that is executed`() throws {
    let directory = try FileDescriptor.open("/proc/self", O_RDONLY | O_DIRECTORY)
    let file = try directory.open("stat", O_RDONLY)
    let copy = try file.duplicate()
    for number in [directory.number, file.number, copy.number] {
      #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
    }
  }
}
