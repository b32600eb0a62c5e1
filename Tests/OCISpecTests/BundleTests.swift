// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import OCISpec
@testable import Syscalls

@Suite struct BundleTests {
  @Test func `reads the config of a directory with spaces`() throws {
    let scratch = try Scratch("a bundle with spaces ")
    try scratch.write(runcSpec)
    #expect(try Bundle(scratch.path).config() == Array(runcSpec.utf8))
  }

  @Test func `reads the config of a directory whose name is not UTF-8`() throws {
    let scratch = try Scratch()
    var name = Array(scratch.path.utf8CString.dropLast())
    name += [0x2f, -1, -2, 0]
    #expect(mkdir(name, 0o700) == 0)
    defer { rmdir(name) }
    let config = name.dropLast() + Array("/config.json".utf8CString)
    do {
      let file = try FileDescriptor.open(config, O_WRONLY | O_CREAT)
      try file.write("{}")
    }
    defer { unlink(config) }
    #expect(try Bundle(name).config() == Array("{}".utf8))
  }

  @Test func `says which bundle is missing`() {
    let error = #expect(throws: ConfigError.self) { _ = try Bundle("/nowhere/at/all") }
    #expect(error?.description == "cannot open the bundle /nowhere/at/all (ENOENT)")
  }

  @Test func `says that a bundle is no directory`() throws {
    let scratch = try Scratch()
    try scratch.write("{}")
    let error = #expect(throws: ConfigError.self) { _ = try Bundle("\(scratch.path)/config.json") }
    #expect(
      error?.description == "cannot open the bundle \(scratch.path)/config.json (ENOTDIR)")
  }

  @Test func `says that config.json is missing`() throws {
    let scratch = try Scratch()
    let error = #expect(throws: ConfigError.self) { try Bundle(scratch.path).config() }
    #expect(error?.description == "cannot open \(scratch.path)/config.json (ENOENT)")
  }

  @Test func `says that config.json is a FIFO, and does not hang`() throws {
    let scratch = try Scratch()
    let name = "\(scratch.path)/config.json"
    #expect(mkfifo(name, 0o600) == 0)
    #expect(throws: ConfigError.notAFile(path: name)) { try Bundle(scratch.path).config() }
  }

  @Test func `says of a directory what its reader hears`() throws {
    let scratch = try Scratch()
    #expect(mkdir("\(scratch.path)/config.json", 0o700) == 0)
    let error = #expect(throws: ConfigError.self) { try Bundle(scratch.path).config() }
    #expect(error?.description == "cannot read \(scratch.path)/config.json (EISDIR)")
  }

  @Test func `reads no config without end`() throws {
    let scratch = try Scratch()
    try scratch.write("{}")
    truncate("\(scratch.path)/config.json", 1 << 40)
    let error = #expect(throws: ConfigError.self) { try Bundle(scratch.path).config() }
    #expect(error?.description == "cannot read \(scratch.path)/config.json (EFBIG)")
  }

  @Test func `reads a config by a name and in a place of its own`() throws {
    let scratch = try Scratch()
    try scratch.write("{}", to: "my.json")
    #expect(try Bundle(config: "\(scratch.path)/my.json").config() == Array("{}".utf8))
    let error = #expect(throws: ConfigError.self) { _ = try Bundle(config: [0x2f, -1, 0]) }
    #expect(error?.description.hasSuffix("(EILSEQ)") == true)
  }

  @Test func `follows a symbolic link and says where it leads nowhere`() throws {
    let scratch = try Scratch()
    symlink("real.json", "\(scratch.path)/config.json")
    #expect(throws: ConfigError.self) { try Bundle(scratch.path).config() }
    try scratch.write("{}", to: "real.json")
    #expect(try Bundle(scratch.path).config() == Array("{}".utf8))
  }
}
