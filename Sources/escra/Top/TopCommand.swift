// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import Quantities
internal import Syscalls

/// `escra top`.
struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Show limits and use of the supervised containers, again and again.",
    discussion: """
      A bar shows what is used (#), what is reserved and not used (-) and the limit (|), out of \
      the most that the container may get. Use is the mean since the last refresh, limits are those \
      of the moment. Members are below a row of their application, whose bar is out of what that may \
      use. Keys: arrows, PgUp, PgDn, Home and End scroll; n, c, l and m sort by name, CPU used, CPU \
      limit and memory used, r reverses; / filters by name, id, application or policy; a takes \
      application rows away; q ends. Where standard output is no terminal, one block is printed each \
      time.
      """)

  @OptionGroup var common: CommonOptions

  @Option(
    help: ArgumentHelp(
      "Time between two refreshes, such as 500ms; else 1s.", valueName: "time"),
    transform: Interval.init(typed:))
  var interval = Interval(seconds: 1)

  @Option(help: ArgumentHelp("End after so many refreshes.", valueName: "number"))
  var count: Int?

  @Option(
    help: ArgumentHelp("Sort by name, cpu, limit or memory; else by name.", valueName: "column"))
  var sort: TopOrder?

  @Option(
    help: ArgumentHelp(
      "Show what has this in its name, id, application or policy.", valueName: "text"))
  var filter: String?

  func validate() throws {
    if let count, count < 1 { throw ValidationError("--count must be at least 1") }
  }

  func run() throws {
    let observer = Observer(try common.stateRoot)
    _ = observer.look()
    usleep(100_000)
    var view = TopView()
    view.order = sort ?? .name
    view.filter = filter ?? ""
    guard Output.isTerminal else {
      return try repeatedly { number throws(Complaint) in
        if number > 1 { try Output.write("\n") }
        let (heading, reports, note) = look(observer)
        let table = Table.top(of: view.rows(of: reports))
        try Output.write(lines: [heading, ""] + table.lines + ["", note])
      } wait: { moment throws(Complaint) in
        sleep(until: moment)
        return false
      }
    }
    let screen = try Screen()
    defer { screen.giveBack() }
    var (heading, reports, note) = ("", [ContainerReport](), "")
    func draw() throws(Complaint) {
      let size = Output.size
      let lines = Table.top(
        &view, of: reports, columns: size.columns, lines: size.rows - 2, note: note)
      try screen.show([heading] + lines)
    }
    try repeatedly { _ throws(Complaint) in
      (heading, reports, note) = look(observer)
      try draw()
    } wait: { moment throws(Complaint) in
      while let bytes = screen.keys(before: moment) {
        if bytes.isEmpty { return false }
        for key in TopKey.parse(bytes) {
          if !view.press(key, page: max(1, Output.size.rows - 4)) { return true }
        }
        try draw()
      }
      return true
    }
  }

  private func look(
    _ observer: Observer
  ) -> (heading: String, reports: [ContainerReport], note: String) {
    let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo")
    let reports = observer.look().map { sight in
      var report = sight.report
      if let mounts, let above = sight.state.cpuLimitAbove(mounts) {
        report.ceiling = min(report.ceiling, above)
      }
      return report
    }
    let now = wallClockNow()
    let time = timestamp(now, now: now, offset: localOffset(at: now), places: 0)
    return ("\(time)  \(topHeading(reports))", reports, useNote(observer.span))
  }

  /// - Parameters:
  ///   - refresh: Called with the number of the refresh, from 1.
  ///   - wait: Waits until a moment; says whether to end there.
  /// - Throws: What a refresh throws.
  private func repeatedly(
    _ refresh: (Int) throws(Complaint) -> Void, wait: (Nanoseconds) throws(Complaint) -> Bool
  ) throws(Complaint) {
    var moment = monotonicNow()
    var number = 0
    while true {
      number += 1
      try refresh(number)
      if let count, number >= count { return }
      // After a suspend the refreshes in between are skipped.
      moment = max(moment + interval.nanoseconds, monotonicNow())
      if try wait(moment) { return }
    }
  }
}

extension TopOrder: ExpressibleByArgument {}

/// What the figures of a use and of a limit are, which need not go together.
///
/// - Parameter span: The time over which the use was measured; nil where it was not.
/// - Returns: A sentence, of less than 80 characters.
func useNote(_ span: Nanoseconds?) -> String {
  let time = span.map { "of the last \(fixed(Double($0) / 1e9, 1)) s" } ?? "since the last look"
  return "CPU USED is the mean \(time); CPU LIMIT is the limit now."
}

/// The line above the table: how many there are and what they hold together.
func topHeading(_ reports: [ContainerReport]) -> String {
  let used = reports.compactMap(\.cpu.used).reduce(0, +)
  let limit = reports.compactMap(\.cpu.limit.value).reduce(0, +)
  let containers = reports.count == 1 ? "1 container" : "\(reports.count) containers"
  return "\(containers), limits of \(cores(limit)) cores, using \(cores(used))"
}
