// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Syscalls

/// A process that writes a byte to a file, and stays until it is told to end.
private func write(to path: String, thenWait: Bool, during body: (pid_t) throws -> Void) throws {
  var pid: pid_t = 0
  let script = "echo >'\(path)'; echo >'\(path).done'" + (thenWait ? "; read -r line" : "")
  var input: [Int32] = [0, 0]
  #expect(pipe(&input) == 0)
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawn_file_actions_adddup2(&actions, input[0], 0)
  posix_spawn_file_actions_addclose(&actions, input[1])
  defer { posix_spawn_file_actions_destroy(&actions) }
  let words: [String] = ["sh", "-c", script]
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
  arguments.append(nil)
  defer { for argument in arguments { free(argument) } }
  #expect(posix_spawn(&pid, "/bin/sh", &actions, nil, &arguments, nil) == 0)
  close(input[0])
  if !thenWait {
    close(input[1])
    waitpid(pid, nil, 0)
  }
  while access(path + ".done", F_OK) != 0 { usleep(1000) }
  try body(pid)
  if thenWait {
    close(input[1])
    waitpid(pid, nil, 0)
  }
}

@Suite struct WriteWatchTests {
  private func watched() throws -> (TemporaryDirectory, String, Int32) {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/cpu.max"
    let file = try FileDescriptor.open(path, O_RDWR | O_CREAT)
    return (directory, path, file.release())
  }

  private func taken(_ watch: borrowing WriteWatch) -> (isAny: Bool, writers: [Int32]) {
    var writers: [Int32] = []
    let isAny = watch.take { writers.append($0) }
    return (isAny, writers)
  }

  @Test func `a write by somebody else is heard, and who it was where the kernel says`() throws {
    let (directory, path, number) = try watched()
    let file = FileDescriptor(owning: number)
    let watch = try WriteWatch(on: file)
    #expect(!taken(watch).isAny)
    try write(to: path, thenWait: true) { pid in
      #expect(isReadable(watch.descriptor.number, within: 0))
      let (isAny, writers) = taken(watch)
      #expect(isAny)
      if watch.namesWriters {
        #expect(writers == [pid])
        #expect(ProcessIdentity.name(of: pid) == "sh")
      } else {
        #expect(writers == [])
      }
    }
    #expect(!taken(watch).isAny)
    _ = directory
  }

  @Test func `a writer that is gone has no name`() throws {
    let (directory, path, number) = try watched()
    let file = FileDescriptor(owning: number)
    let watch = try WriteWatch(on: file)
    try write(to: path, thenWait: false) { pid in
      #expect(taken(watch).isAny)
      #expect(ProcessIdentity.name(of: pid) == nil)
    }
    #expect(ProcessIdentity.name(of: 0) == nil && ProcessIdentity.name(of: -1) == nil)
    _ = directory
  }

  @Test func `who is told of writers is not told of own ones, and no descriptor is left`() throws {
    let (directory, _, number) = try watched()
    let file = FileDescriptor(owning: number)
    let watch = try WriteWatch(on: file)
    for _ in 0..<100 { try file.overwrite("max 100000", subject: "a file") }
    let (isAny, writers) = taken(watch)
    #expect(isAny != watch.namesWriters && writers == [])
    #expect(!isReadable(watch.descriptor.number, within: 0))
    _ = directory
  }
}
