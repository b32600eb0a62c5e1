// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import LiveLimits
@testable import State
@testable import Syscalls

private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Outer groups that are plain directories here: the kernel, too, removes none with another in it.
@Suite struct OuterGroupsTests {
  private let temporary: TemporaryDirectory
  private let root: StateRoot

  init() throws {
    temporary = try TemporaryDirectory()
    root = StateRoot(path: temporary.path + "/escra")
    for path in [root.path, root.groups] { mkdir(path, 0o700) }
  }

  /// Notes a group for an instance, and makes it.
  private func group(_ name: String, of nonce: UInt64) throws -> String {
    let path = temporary.path + "/" + name
    mkdir(path, 0o700)
    let file = root.groups + "/" + ApplicationDirectory.name(of: nonce)
    try FileDescriptor.open(file, O_WRONLY | O_CREAT).write("path=\(path)\n")
    return path
  }

  @Test func `the group of a container that is gone is removed, and its note`() throws {
    let path = try group("outer", of: 7)
    var watched: [String] = []
    #expect(OuterGroups.sweep(root) { watched.append($0) } == 0)
    #expect(!exists(path) && !root.hasOuterGroups && watched == [path])
    #expect(OuterGroups.sweep(root) { _ in } == 0, "there is nothing to do")
  }

  @Test func `one with the container's own in it waits`() throws {
    let path = try group("outer", of: 7)
    mkdir(path + "/inner", 0o700)
    #expect(OuterGroups.sweep(root) { _ in } == 1)
    #expect(exists(path) && root.hasOuterGroups)
    rmdir(path + "/inner")
    #expect(OuterGroups.sweep(root) { _ in } == 0)
    #expect(!exists(path) && !root.hasOuterGroups)
  }

  @Test func `that of an instance is not touched, whoever had the name before`() throws {
    let instance = try StateDirectory.create(in: root, root: "/r", id: "web")
    let path = try group("outer", of: instance.nonce)
    // The same group, noted for an instance that is gone.
    _ = try group("outer", of: instance.nonce ^ 1)
    #expect(OuterGroups.sweep(root) { _ in } == 0)
    #expect(exists(path) && root.hasOuterGroups)
    instance.remove()
    #expect(OuterGroups.sweep(root) { _ in } == 0)
    #expect(!exists(path) && !root.hasOuterGroups)
  }

  @Test func `that of a container that will not be is removed at once`() throws {
    let path = try group("outer", of: 7)
    OuterGroups.remove(7, root)
    #expect(!exists(path) && !root.hasOuterGroups)
    OuterGroups.remove(8, root)
  }

  @Test func `another process has the lock`() throws {
    let path = try group("outer", of: 7)
    let lock = try FileDescriptor.open(root.groups, O_RDONLY | O_DIRECTORY)
    #expect(try lock.lock())
    #expect(OuterGroups.sweep(root) { _ in } == nil)
    #expect(exists(path))
  }
}
