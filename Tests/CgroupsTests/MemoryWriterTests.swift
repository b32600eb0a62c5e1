// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Cgroups
@testable import Quantities
@testable import Syscalls

/// A directory shaped like a group of cgroup v2; its files are not cut off by a write as the
/// kernel's are, so what is compared begins with what was written.
private func directory(limit: String, line: String) throws -> TemporaryDirectory {
  let directory = try TemporaryDirectory()
  try directory.write(limit + "\n", to: "memory.max")
  try directory.write(line + "\n", to: "memory.high")
  return directory
}

private func writer(_ directory: TemporaryDirectory) throws -> MemoryWriter {
  try MemoryWriter(directory: directory.path, version: .v2, readOnly: false)
}

@Suite struct MemoryWriterTests {
  @Test func `"max" is no limit, and no line`() throws {
    let writer = try writer(directory(limit: "max", line: "max"))
    #expect(try writer.current() >= MemoryLimit.unlimited)
    #expect(try writer.line() >= MemoryLimit.unlimited)
  }

  @Test func `raises the limit, and then the line, without a look at the use`() throws {
    let directory = try directory(limit: "100000000", line: "000000000")
    try writer(directory).set(200_000_000, line: 180_000_000, swap: nil) {
      () throws(SystemError) in throw SystemError("read", "the use", errno: EIO)
    }
    #expect(try directory.read("memory.max") == "200000000\n")
    #expect(try directory.read("memory.high") == "180000000\n")
  }

  @Test func `lowers the line first, and the limit only where half of its room is free`() throws {
    let directory = try directory(limit: "800000000", line: "700000000")
    let target = 480 * mebibyte
    let line = MemoryHigh.line(under: target)
    var seen = ""
    try writer(directory).set(target, line: line, swap: nil) { () throws(SystemError) in
      seen = (try? directory.read("memory.high") + directory.read("memory.max")) ?? ""
      return target - (target - line) / 2
    }
    #expect(seen == "\(line)\n800000000\n")
    #expect(try directory.read("memory.max") == "\(target)\n")
  }

  @Test func `a limit that is too near is not lowered, and the line goes back`() throws {
    let directory = try directory(limit: "800000000", line: "700000000")
    let target = 480 * mebibyte
    let line = MemoryHigh.line(under: target)
    #expect(throws: SystemError.self) {
      try writer(directory).set(target, line: line, swap: nil) { () throws(SystemError) in
        target - (target - line) / 2 + 1
      }
    }
    #expect(try directory.read("memory.max") == "800000000\n")
    #expect(try directory.read("memory.high") == "700000000\n")
  }

  @Test func `whoever only reads writes nothing`() throws {
    let directory = try directory(limit: "100000000", line: "max")
    let reader = try MemoryWriter(directory: directory.path, version: .v2, readOnly: true)
    #expect(throws: SystemError.self) {
      try reader.set(200_000_000, swap: nil) { () throws(SystemError) in 0 }
    }
    #expect(throws: SystemError.self) { try reader.set(line: nil) }
    #expect(try directory.read("memory.max") == "100000000\n")
  }
}
