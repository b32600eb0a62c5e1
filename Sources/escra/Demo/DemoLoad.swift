// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import Quantities
internal import Syscalls

/// The requests that both containers of `escra demo` get.
struct DemoLoad {
  /// One request.
  struct Request: Equatable {
    /// When it arrives, in nanoseconds after the start.
    let arrival: Nanoseconds
    /// The CPU time that it takes.
    let work: Nanoseconds
  }

  /// CPU limit that both containers declare, in cores.
  static let declared = 0.5
  /// The most that the reactive one may get.
  static let most = 1.0

  /// Little work, and two bursts that need more than what is declared for a while.
  ///
  /// - Parameter seconds: For how long requests arrive.
  /// - Returns: The requests, in the order in which they arrive.
  static func requests(seconds: Int) -> [Request] {
    let end = Nanoseconds(seconds) * 1_000_000_000
    var requests: [Request] = []
    var moment: Nanoseconds = 0
    while moment < end {
      // Fifths of the time: little, a burst, little, a burst, little.
      let isBurst = (moment * 10 / end) % 4 == 2
      requests.append(Request(arrival: moment, work: isBurst ? 40_000_000 : 8_000_000))
      moment += isBurst ? 50_000_000 : 100_000_000
    }
    return requests
  }

  /// The latency that so many of a hundred requests do not exceed; nil without requests.
  static func percentile(_ percent: Int, of latencies: [Nanoseconds]) -> Nanoseconds? {
    let sorted = latencies.sorted()
    return sorted.isEmpty
      ? nil : sorted[min(sorted.count - 1, (sorted.count * percent + 99) / 100 - 1)]
  }
}

/// What runs in the containers of `escra demo`: serves the requests, one after the other.
struct DemoLoadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo-load", abstract: "Serve the requests of escra demo.", shouldDisplay: false)

  @Argument(help: "For how many seconds requests arrive.")
  var seconds: Int

  func validate() throws {
    if !(1...3600).contains(seconds) { throw ValidationError("write a number from 1 to 3600") }
  }

  func run() throws {
    let start = monotonicNow()
    for request in DemoLoad.requests(seconds: seconds) {
      sleep(until: start + request.arrival)
      let end = Self.used() + request.work
      while Self.used() < end {}
      try Output.write("\(monotonicNow() - start - request.arrival)\n")
    }
  }

  private static func used() -> Nanoseconds {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Nanoseconds(time.tv_sec) * 1_000_000_000 + Nanoseconds(time.tv_nsec)
  }
}
