// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Control
@testable import State
@testable import escra

@Suite struct EventLogTests {
  @Test func `each decision is told once, the oldest first`() throws {
    let path = "/tmp/escra-events-\(getpid())-\(UInt32.random(in: 0...(.max)))"
    defer {
      rmdir(path + "/containers")
      rmdir(path)
    }
    let root = StateRoot(path: path)
    var log = EventLog(root: root)
    #expect(log.read().isEmpty)
    let one = try StateDirectory.create(in: root, root: "/r", id: "one")
    defer { one.remove() }
    let two = try StateDirectory.create(in: root, root: "/r", id: "two")
    defer { two.remove() }
    try one.save(exampleState { $0.id = "one" })
    try two.save(exampleState { $0.id = "two" })
    var first = try Record(in: one.descriptor)
    var second = try Record(in: two.descriptor)
    var decision = entry(.idle, 1, 0.05)
    second.append(decision)
    decision.time += 1
    first.append(decision)
    #expect(log.read().map(\.id) == ["two", "one"])
    // Within the file system's resolution the time of the file does not tell.
    decision.time += 1
    second.append(decision)
    let events = log.read()
    #expect(events.map(\.id) == ["two"] && events.map(\.entry.sequence) == [2])
    #expect(log.read().isEmpty)
    #expect(
      events[0].line.hasPrefix(
        #"{"id": "two","name": null,"namespace": null,"policy": "reactive","app": null,"root""#))
    #expect(!events[0].line.contains("\n"))
  }
}
