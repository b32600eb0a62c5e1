// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import TestFiles
import TestValues
import Testing

@testable import Quantities
@testable import Syscalls

@Suite struct DeadlineTimerTests {
  @Test func `it fires at the moment that was set, and not before`() throws {
    var timer = try DeadlineTimer()
    let deadline = monotonicNow() + 20 * ms
    try timer.set(deadline)
    #expect(isReadable(timer.descriptor.number))
    #expect(monotonicNow() >= deadline)
  }

  @Test(arguments: [0, -1, Nanoseconds.min, 1])
  func `a moment that has passed fires at once`(moment: Nanoseconds) throws {
    var timer = try DeadlineTimer()
    try timer.set(moment)
    #expect(isReadable(timer.descriptor.number))
  }

  @Test func `it is quiet from the start, when disarmed, and once it was set behind a call`()
    throws
  {
    var timer = try DeadlineTimer()
    #expect(!isReadable(timer.descriptor.number, within: 0))
    try timer.set(monotonicNow() + 1 * ms)
    try timer.set(nil)
    #expect(!isReadable(timer.descriptor.number, within: 5 * ms))
    try timer.set(1)
    #expect(isReadable(timer.descriptor.number))
    timer.acknowledge()
    try timer.set(nil)
    #expect(!isReadable(timer.descriptor.number, within: 0))
  }

  @Test func `the same moment can be set again once it was acknowledged`() throws {
    var timer = try DeadlineTimer()
    try timer.set(1)
    #expect(isReadable(timer.descriptor.number))
    timer.acknowledge()
    try timer.set(1)
    #expect(isReadable(timer.descriptor.number))
  }

  @Test func `a moment that will never come is one`() throws {
    var timer = try DeadlineTimer()
    try timer.set(.max)
    #expect(!isReadable(timer.descriptor.number, within: 0))
  }
}

@Suite struct PollerTests {
  @Test func `each token is heard, however many are ready`() throws {
    let poller = try Poller()
    var events: [CInt] = []
    defer { for event in events { close(event) } }
    for index in 0..<9 {
      let event = eventfd(1, CInt(EFD_CLOEXEC | EFD_NONBLOCK))
      try #require(event >= 0)
      events.append(event)
      try poller.add(event, token: UInt64(index) << 40)
    }
    var heard: Set<UInt64> = []
    for _ in 0..<9 where heard.count < 9 {
      try poller.wait { token in
        heard.insert(token >> 40)
        // Taken, so that it is ready no more.
        var count: UInt64 = 0
        _ = read(events[Int(token >> 40)], &count, 8)
      }
    }
    #expect(heard == Set(0..<9))
  }

  @Test func `who shares a poller adds to it`() throws {
    let poller = try Poller()
    var timer = try DeadlineTimer()
    try timer.set(1)
    do {
      let other = try Poller(sharing: poller)
      try other.add(timer.descriptor.number, token: 7)
    }
    var heard: [UInt64] = []
    try poller.wait { heard.append($0) }
    #expect(heard == [7])
  }

  @Test func `what was not taken is heard again`() throws {
    let poller = try Poller()
    var timer = try DeadlineTimer()
    try timer.set(1)
    try poller.add(timer.descriptor.number, token: 7)
    for _ in 0..<2 {
      var heard: [UInt64] = []
      try poller.wait { heard.append($0) }
      #expect(heard == [7])
    }
  }

  @Test func `a connection that cannot be accepted is told of once, and again with the next one`()
    throws
  {
    let directory = try FileDescriptor.open("/tmp", O_RDONLY | O_DIRECTORY)
    let name = "escra-poller-\(getpid())"
    let listener = FileDescriptor(owning: escra_seqpacket_listen(directory.number, name))
    defer { try? directory.remove(name) }
    let poller = try Poller()
    try poller.addListener(listener.number, token: 5)
    func told() throws -> [UInt64] {
      var tokens: [UInt64] = []
      try poller.poll { tokens.append($0) }
      return tokens
    }
    #expect(try told() == [])
    for _ in 0..<2 {
      let caller = FileDescriptor(owning: escra_seqpacket_connect(directory.number, name))
      #expect(caller.isOpen == true)
      #expect(try told() == [5])
      #expect(try told() == [], "no loop is kept busy")
    }
  }

  @Test func `what was removed is heard no more`() throws {
    let poller = try Poller()
    var removed = try DeadlineTimer()
    var kept = try DeadlineTimer()
    try poller.add(removed.descriptor.number, token: 1)
    try poller.add(kept.descriptor.number, token: 2)
    poller.remove(removed.descriptor.number)
    try removed.set(1)
    try kept.set(1)
    var heard: [UInt64] = []
    try poller.wait { heard.append($0) }
    #expect(heard == [2])
  }

  @Test func `a regular file cannot be waited on`() throws {
    let directory = try TemporaryDirectory()
    let file = try FileDescriptor.open(directory.path + "/file", O_RDWR | O_CREAT)
    let poller = try Poller()
    #expect(throws: SystemError.self) { try poller.add(file.number, token: 1) }
  }
}
