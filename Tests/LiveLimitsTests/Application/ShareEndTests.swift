// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Application
@testable import LiveLimits
@testable import State
@testable import Syscalls

private let core: Int64 = 1_000_000_000
private let second: Int64 = 1_000_000_000

/// A broker whose timer of CLOCK_MONOTONIC never fires, as that of a machine that was suspended.
///
/// Its `tick()` is not called. What is left is the timer of CLOCK_BOOTTIME.
private final class SleepingBroker: LimitKeeper {
  private(set) var kernel: Int64 = 0
  private let poller: Poller
  private var participation: Participation?

  init(in path: String) throws {
    poller = try Poller()
    let room = try ApplicationDirectory(making: path, locks: .descriptions)
    _ = try room.isNamed("name=shop\nroot=/x\nscope=cluster\nuser=0\n")
    let file = try room.register(sharedRecord(1, held: 0))
    participation = try Participation(
      room, file, most: (16 * core, .max), on: poller, self)
    participation?.seek()
  }

  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64) {
    kernel = amount
    return (amount, 0)
  }

  /// Does what is said, until something comes true.
  func attends(within seconds: Int64, _ condition: () -> Bool) -> Bool {
    let deadline = monotonicNow() + seconds * second
    while monotonicNow() < deadline {
      var tokens: [UInt64] = []
      try? poller.poll { tokens.append($0) }
      for token in tokens { participation?.handle(token) }
      if condition() { return true }
      usleep(200)
    }
    return false
  }
}

/// The end of a share while the machine is suspended.
struct ShareEndTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// When the timers of a clock in this process are due, in nanoseconds from now (proc_pid_fdinfo(5)).
  private func timers(of clock: CInt) -> Set<Int64> {
    var found: Set<Int64> = []
    for name in FileDescriptor.entriesIfReadable(of: "/proc/self/fdinfo") {
      let text = FileDescriptor.textIfReadable(of: "/proc/self/fdinfo/" + name) ?? ""
      guard text.contains("clockid: \(clock)\n") else { continue }
      guard let value = text.split(separator: "\n").first(where: { $0.hasPrefix("it_value: (") })
      else { continue }
      let numbers = value.dropFirst("it_value: (".count).dropLast().split(separator: ",")
        .compactMap { Int64($0.filter(\.isNumber)) }
      if numbers.count == 2 { found.insert(numbers[0] * second + numbers[1]) }
    }
    return found
  }

  @Test func `a timer of CLOCK_BOOTTIME alone ends a share`() throws {
    let path = directory.path + "/apps/0123456789abcdef"
    let broker = try SleepingBroker(in: path)
    let agent = ApplicationSocket(
      owning: try ApplicationDirectory(opening: path).connect())
    func share(_ number: UInt64, for time: Int64) -> ApplicationMessage {
      ApplicationMessage(
        resource: .cpu, epoch: 0, nonce: 0, sequence: number,
        body: .share(
          .init(limit: core, minimum: core / 4, deadline: boottimeNow() + time)))
    }
    // The broker begins 1.5 s before the deadline.
    var isSent = agent.send(share(1, for: 3000 * second))
    #expect(isSent)
    #expect(broker.attends(within: 10) { broker.kernel == core })
    let due = timers(of: CLOCK_BOOTTIME)
    #expect(due.contains { (2900 * second...2999 * second).contains($0) }, "\(due)")
    let begin = monotonicNow()
    isSent = agent.send(share(2, for: 3 * second))
    #expect(isSent)
    #expect(broker.attends(within: 10) { broker.kernel == core / 4 })
    #expect(monotonicNow() - begin >= 1_400_000_000)
  }
}
