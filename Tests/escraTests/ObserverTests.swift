// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Control
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls
@testable import escra

@Suite struct ObserverTests {
  /// A private /run/escra, removed afterwards.
  private func withRoot(_ body: (StateRoot) throws -> Void) throws {
    let path = "/tmp/escra-observer-\(getpid())-\(UInt32.random(in: 0...(.max)))"
    defer {
      rmdir(path + "/containers")
      rmdir(path)
    }
    try body(StateRoot(path: path))
  }

  @Test func `no state directory is no container`() {
    let root = StateRoot(path: "/nowhere/at/all")
    #expect(throws: Never.self) { try root.checkAccess() }
    #expect(Observer(root).look().isEmpty)
  }

  @Test func `a state directory that cannot be looked at is an error`() {
    let root = StateRoot(path: "/dev/null")
    let refusal = #expect(throws: SystemError.self) { try root.checkAccess() }
    #expect(refusal?.description == "cannot read /dev/null/containers (ENOTDIR)")
  }

  @Test func `a supervisor is alive only if it holds the lock and is the one that wrote`() throws {
    try withRoot { root in
      let directory = try StateDirectory.create(in: root, root: "/r", id: "web")
      defer { directory.remove() }
      let ourselves = try #require(ProcessIdentity(pid: getpid()))
      var state = exampleState { $0.supervisor = ourselves }
      try directory.save(state)
      #expect(Observer(root).look().map(\.report.supervisor) == [getpid()])

      state.supervisor = ProcessIdentity(pid: getpid(), startTicks: ourselves.startTicks - 1)
      try directory.save(state)
      #expect(Observer(root).look().map(\.report.supervisor) == [nil])

      state.supervisor = ourselves
      try directory.save(state)
      flock(directory.descriptor.number, LOCK_UN)
      #expect(Observer(root).look().map(\.report.supervisor) == [nil])
    }
  }

  @Test func `a running container without its cgroup has ended`() throws {
    try withRoot { root in
      let directory = try StateDirectory.create(in: root, root: "/r", id: "web")
      defer { directory.remove() }
      try directory.save(
        exampleState {
          $0.cpuDirectory = "/nowhere"
          $0.version = .v1
        })
      let report = try #require(Observer(root).look().first?.report)
      #expect(report.phase == "ended")
      #expect(report.cpu.limit == .unknown && report.cpu.used == nil)
    }
  }

  @Test func `under observe the last decision is what would be`() throws {
    try withRoot { root in
      let directory = try StateDirectory.create(in: root, root: "/r", id: "web")
      defer { directory.remove() }
      try directory.save(exampleState { $0.policy = .observe })
      var record = try Record(in: directory.descriptor)
      record.append(entry(.start, 1, 1, applied: false))
      record.append(entry(.idle, 1, 0.05, applied: false))
      let sight = try #require(Observer(root).look().first)
      #expect(sight.report.wouldBe == 0.05)
      #expect(sight.entries.map(\.rule) == [.start, .idle])
      try directory.mark(.done)
      #expect(Observer(root).look().map(\.report.wouldBe) == [nil])
    }
  }

  @Test func `an instance whose state cannot be read is passed over`() throws {
    try withRoot { root in
      let directory = try StateDirectory.create(in: root, root: "/r", id: "web")
      defer { directory.remove() }
      #expect(Observer(root).look().isEmpty)
    }
  }
}
