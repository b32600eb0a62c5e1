// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Syscalls

@Suite struct FileWatchTests {
  @Test func `a write by anybody is heard before it returns`() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/cpu.max"
    let watched = try FileDescriptor.open(path, O_RDONLY | O_CREAT)
    let watch = try FileWatch()
    try watch.addWrites(to: watched)
    #expect(watch.drain() == false)

    let writer = try FileDescriptor.open(path, O_RDWR)
    try writer.overwrite("max 100000", subject: "a file")
    #expect(isReadable(watch.descriptor.number, within: 0))
    #expect(watch.drain() == true)
    #expect(watch.drain() == false)
    #expect(!isReadable(watch.descriptor.number, within: 0))
  }

  @Test func `reading is not writing`() throws {
    let directory = try TemporaryDirectory()
    let file = try FileDescriptor.open(directory.path + "/cpu.max", O_RDWR | O_CREAT)
    let watch = try FileWatch()
    try watch.addWrites(to: file)
    _ = try file.contents(subject: "a file")
    #expect(watch.drain() == false)
  }

  @Test func `the file is meant, not its name`() throws {
    let directory = try TemporaryDirectory()
    let opened = try FileDescriptor.open(directory.path, O_RDONLY | O_DIRECTORY)
    let file = try opened.open("old", O_RDWR | O_CREAT)
    let watch = try FileWatch()
    try watch.addWrites(to: file)
    try opened.rename("old", to: "new")
    try opened.open("old", O_WRONLY | O_CREAT).write("another file")
    #expect(watch.drain() == false)
    try file.write("the same file")
    #expect(watch.drain() == true)
  }

  @Test func `a name that is made, moved in, or closed after writing is heard`() throws {
    let directory = try TemporaryDirectory()
    let opened = try FileDescriptor.open(directory.path, O_RDONLY | O_DIRECTORY)
    let watch = try FileWatch()
    try watch.addArrivals(in: opened)

    do {
      let file = try opened.open(".pid", O_WRONLY | O_CREAT)
      #expect(watch.drain() == true, "made")
      try file.write("4711")
      #expect(watch.drain() == false, "written, and still open")
    }
    #expect(watch.drain() == true, "closed")
    try opened.rename(".pid", to: "pid")
    #expect(watch.drain() == true, "moved in")
    try opened.remove("pid")
    #expect(watch.drain() == false, "removed")
  }

  @Test func `however much has happened, one drain forgets it`() throws {
    let directory = try TemporaryDirectory()
    let opened = try FileDescriptor.open(directory.path, O_RDONLY | O_DIRECTORY)
    let watch = try FileWatch()
    try watch.addArrivals(in: opened)
    for number in 0..<500 { _ = try opened.open("file\(number)", O_WRONLY | O_CREAT) }
    #expect(watch.drain() == true)
    #expect(watch.drain() == false)
  }
}
