// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import LiveLimits
internal import Syscalls

/// `escra top`.
struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Show limits and use of the supervised containers, live.",
    discussion: """
      A bar shows what is used (#), what is reserved and not used (-) and the limit (|), out of \
      the most that the container may get. q ends it. Where standard output is no terminal, one \
      block is printed each time.
      """)

  @OptionGroup var common: CommonOptions

  @Option(
    help: ArgumentHelp(
      "Time between two refreshes, such as 500ms; else 1s.", valueName: "time"),
    transform: Interval.init(typed:))
  var interval = Interval(seconds: 1)

  @Option(help: ArgumentHelp("End after so many refreshes.", valueName: "number"))
  var count: Int?

  func validate() throws {
    if let count, count < 1 { throw ValidationError("--count must be at least 1") }
  }

  func run() throws {
    let observer = Observer(try common.stateRoot)
    _ = observer.look()
    usleep(100_000)
    guard Output.isTerminal else {
      repeatedly { number in
        if number > 1 { Output.write("\n") }
        Output.write(lines: lines(observer))
      } wait: { moment in
        sleep(until: moment)
        return false
      }
      return
    }
    let screen = try Screen()
    defer { screen.giveBack() }
    repeatedly { _ in
      screen.show(lines(observer))
    } wait: { moment in
      screen.wantsEnd(before: moment)
    }
  }

  private func lines(_ observer: Observer) -> [String] {
    let reports = observer.look().map(\.report)
    let now = wallClockNow()
    let time = timestamp(now, now: now, offset: localOffset(at: now), places: 0)
    return ["\(time)  \(topHeading(reports))", ""] + Table.top(of: reports).lines
  }

  /// - Parameters:
  ///   - refresh: Called with the number of the refresh, from 1.
  ///   - wait: Waits until a moment; says whether to end there.
  private func repeatedly(_ refresh: (Int) -> Void, wait: (Nanoseconds) -> Bool) {
    var moment = monotonicNow()
    var number = 0
    while true {
      number += 1
      refresh(number)
      if let count, number >= count { return }
      // A machine that was asleep owes nobody the refreshes in between.
      moment = max(moment + interval.nanoseconds, monotonicNow())
      if wait(moment) { return }
    }
  }
}

/// The line above the table: how many there are and what they hold together.
func topHeading(_ reports: [ContainerReport]) -> String {
  let used = reports.compactMap(\.cpu.used).reduce(0, +)
  let limit = reports.compactMap(\.cpu.limit.value).reduce(0, +)
  let containers = reports.count == 1 ? "1 container" : "\(reports.count) containers"
  return "\(containers), limits of \(cores(limit)) cores, using \(cores(used))"
}
