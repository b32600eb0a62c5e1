// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import LiveLimits
@testable import Quantities
@testable import Syscalls

/// A component that no other knows.
private final class Dummy: Component {
  private(set) var heard: [String] = []
  var deadline: Nanoseconds?
  /// Kept: its descriptors may be added at any time.
  private let poller: Poller
  private let answer: (LoopEvent) -> [Effect]

  init(
    _ poller: consuming Poller, _ number: Int32? = nil, _ answer: @escaping (LoopEvent) -> [Effect]
  ) throws(SystemError) {
    if let number { try poller.add(number, token: 7) }
    self.poller = poller
    self.answer = answer
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .began: heard.append("began")
    case .readable(let token): heard.append("readable \(token)")
    case .deadline:
      deadline = nil
      heard.append("deadline")
    case .effect(let effect): heard.append("\(effect)")
    case .settled: heard.append("settled")
    case .ended: heard.append("ended")
    }
    return answer(event)
  }
}

@Suite struct EventLoopTests {
  /// A pipe with a byte in it.
  private func pipe() throws -> FileDescriptor {
    var ends: [Int32] = [0, 0]
    try #require(Glibc.pipe(&ends) == 0)
    defer { close(ends[1]) }
    try #require(write(ends[1], "x", 1) == 1)
    return FileDescriptor(owning: ends[0])
  }

  @Test func `a component answers a message, and the control socket does not know it`() throws {
    let temporary = try TemporaryDirectory()
    let directory = try FileDescriptor.open(temporary.path, O_RDONLY | O_DIRECTORY)
    let socket = try ControlSocket.listen(on: "socket", in: directory).release()
    let client = try ControlSocket(connectingTo: "socket", in: directory)
    client.send(.look)
    let loop = try EventLoop()
    _ = try loop.add { poller throws(SystemError) in
      try ControlSocketComponent(FileDescriptor(owning: socket), poller)
    }
    let dummy = try loop.add { poller throws(SystemError) in
      try Dummy(poller) { event in
        guard case .effect(.message(.look, let token)) = event else { return [] }
        return [.answer(.looked, to: token), .end]
      }
    }
    try loop.run()
    #expect(client.receive() == .message(.looked))
    #expect(dummy.heard.first == "began")
    #expect(dummy.heard.last == "ended")
  }

  @Test func `tokens of components do not meet`() throws {
    let first = try pipe()
    let second = try pipe()
    let (one, other) = (first.number, second.number)
    let loop = try EventLoop()
    let end = { (event: LoopEvent) -> [Effect] in
      if case .readable = event { return [.end] }
      return []
    }
    let quiet = try loop.add { poller throws(SystemError) in try Dummy(poller) { _ in [] } }
    let busy = try loop.add { poller throws(SystemError) in try Dummy(poller, other, end) }
    try loop.run()
    #expect(busy.heard == ["began", "readable 7", "end", "ended"])
    #expect(quiet.heard == ["began", "end", "ended"])
    let next = try EventLoop()
    let early = try next.add { poller throws(SystemError) in try Dummy(poller, one, end) }
    _ = try next.add { poller throws(SystemError) in try Dummy(poller, other, end) }
    try next.run()
    // The first component's events come first, and nothing is handled behind the end.
    #expect(early.heard == ["began", "readable 7", "end", "ended"])
    _ = (first.number, second.number)
  }

  @Test func `an effect is handled with all that follows from it before the next one`() throws {
    let loop = try EventLoop()
    _ = try loop.add { poller throws(SystemError) in
      try Dummy(poller) { event in
        switch event {
        case .began: [.lookAtParent, .end]
        case .effect(.lookAtParent): [.lookAbove]
        default: []
        }
      }
    }
    let last = try loop.add { poller throws(SystemError) in try Dummy(poller) { _ in [] } }
    try loop.run()
    #expect(last.heard == ["lookAbove", "lookAtParent", "end", "began", "ended"])
  }

  @Test func `a deadline wakes the component that has it`() throws {
    let loop = try EventLoop()
    let late = try loop.add { poller throws(SystemError) in
      try Dummy(poller) { event in
        if case .deadline = event { return [.end] }
        return []
      }
    }
    let never = try loop.add { poller throws(SystemError) in try Dummy(poller) { _ in [] } }
    late.deadline = monotonicNow() + 1_000_000
    try loop.run()
    #expect(late.heard == ["began", "deadline", "end", "ended"])
    #expect(never.heard == ["began", "end", "ended"])
  }
}
