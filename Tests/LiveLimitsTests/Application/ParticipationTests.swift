// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Application
@testable import LiveLimits
@testable import State
@testable import Syscalls

private let core: Int64 = 1_000_000_000

/// A supervisor without a container: its kernel is a number.
private final class Supervisor: LimitKeeper {
  let nonce: UInt64
  private(set) var kernel: Int64
  private let poller: Poller
  var participation: Participation?

  init(
    _ nonce: UInt64, in path: String, held: Int64 = 0, declared: Int64 = core,
    application: Int64? = nil
  ) throws {
    self.nonce = nonce
    kernel = held
    poller = try Poller()
    var record = sharedRecord(nonce, held: held)
    record.cpu.declared = declared
    let room = try ApplicationDirectory(making: path, locks: .descriptions)
    let file: MemberFile
    if let known = room.adopt(nonce) {
      file = known
      file.replace(record)
    } else {
      file = try room.register(record)
    }
    participation = try Participation(
      room, file, application: (application, nil), most: (16 * core, .max), on: poller, self)
    participation?.seek()
  }

  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64) {
    kernel = amount
    return (amount, 0)
  }

  /// Does what there is to do, and does not wait.
  func attend() {
    var tokens: [UInt64] = []
    try? poller.poll { tokens.append($0) }
    for token in tokens { participation?.handle(token) }
    participation?.tick()
  }

  func want(_ amount: Int64) { participation?.want(amount, of: .cpu) }

  func die() { participation = nil }
}

@Suite struct ParticipationTests {
  let directory: TemporaryDirectory
  var path: String { directory.path + "/apps/0123456789abcdef" }

  init() throws { directory = try TemporaryDirectory() }

  /// Whether something comes true while all do what they have to do; and never is more in force than
  /// there is.
  private func eventually(
    _ supervisors: [Supervisor], most: Int64 = .max, within seconds: Int64 = 10,
    _ condition: () -> Bool
  ) -> Bool {
    let deadline = monotonicNow() + seconds * 1_000_000_000
    while monotonicNow() < deadline {
      for supervisor in supervisors { supervisor.attend() }
      if supervisors.reduce(0, { $0 + $1.kernel }) > most { return false }
      if condition() { return true }
      usleep(200)
    }
    return false
  }

  @Test func `the first is the broker, and is granted what it declares`() throws {
    let one = try Supervisor(1, in: path)
    #expect(eventually([one]) { one.kernel == core })
    #expect(one.participation?.isBroker == true)
  }

  @Test func `what one gives back another has`() throws {
    let one = try Supervisor(1, in: path)
    #expect(eventually([one]) { one.kernel == core })
    let two = try Supervisor(2, in: path)
    #expect(eventually([one, two]) { two.kernel == core })
    #expect(two.participation?.isBroker == false)
    one.want(core / 10)
    two.want(2 * core)
    #expect(eventually([one, two], most: 2 * core) { two.kernel == 2 * core - core / 10 })
    #expect(one.kernel == core / 10)
    one.want(core)
    #expect(eventually([one, two], most: 2 * core) { one.kernel == core && two.kernel == core })
  }

  @Test func `another takes over when the broker dies, and what was held stays charged`() throws {
    let one = try Supervisor(1, in: path)
    #expect(eventually([one]) { one.kernel == core })
    let two = try Supervisor(2, in: path)
    #expect(eventually([one, two]) { two.kernel == core })
    one.die()
    two.want(4 * core)
    #expect(eventually([two]) { two.participation?.isBroker == true })
    #expect(!eventually([two], most: core, within: 3) { two.kernel > core } || two.kernel == core)
    // Its successor finds what the kernel has.
    let next = try Supervisor(1, in: path, held: one.kernel)
    next.want(core / 2)
    #expect(eventually([next, two], most: 2 * core) { two.kernel == core + core / 2 })
  }

  @Test func `who has put itself to rest holds up nobody, and goes on later`() throws {
    let one = try Supervisor(1, in: path)
    #expect(eventually([one]) { one.kernel == core })
    one.participation?.rest()
    let two = try Supervisor(2, in: path)
    #expect(eventually([two]) { two.kernel == core })
    #expect(two.participation?.isBroker == true)
    one.die()
    let next = try Supervisor(1, in: path, held: core)
    next.want(core / 4)
    two.want(2 * core)
    #expect(eventually([next, two], most: 2 * core) { two.kernel == 2 * core - core / 4 })
  }

  @Test func `what leaves is what joined, and the last one leaves nothing`() throws {
    let all = try (1...3).map { try Supervisor($0, in: path) }
    #expect(eventually(all) { all.allSatisfy { $0.kernel == core } })
    for supervisor in all { supervisor.participation?.leave() }
    #expect(access(path, F_OK) != 0)
  }

  @Test func `there is no place where the least of all is more than there is`() throws {
    let one = try Supervisor(1, in: path, application: core / 10)
    #expect(eventually([one]) { one.kernel == core / 10 })
    let two = try Supervisor(2, in: path)
    #expect(
      eventually([one, two]) { two.kernel >= core / 20 && one.kernel + two.kernel <= core / 10 })
    let three = try Supervisor(3, in: path)
    #expect(eventually([one, two, three]) { three.participation?.refusal != nil })
    #expect(
      three.participation?.refusal
        == .refused(.cpu, .minima, figure: 0))
  }

  @Test func `what no frame is gets a refusal, and nobody else suffers`() throws {
    let one = try Supervisor(1, in: path)
    #expect(eventually([one]) { one.kernel == core })
    let room = try ApplicationDirectory(opening: path)
    let socket = ApplicationSocket(owning: try room.connect())
    let junk = [UInt8](repeating: 7, count: 96)
    try socket.descriptor.write(junk)
    var answer = ApplicationSocket.Received.nothing
    #expect(
      eventually([one]) {
        answer = socket.receive()
        return answer != .nothing
      })
    guard case .message(let message) = answer else { Issue.record("\(answer)"); return }
    #expect(message.body == .refuse(.nonsense, figure: 0))
    one.want(core / 2)
    #expect(eventually([one]) { one.kernel == core / 2 })
  }
}
