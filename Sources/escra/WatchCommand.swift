// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Cgroups
internal import Glibc
internal import Quantities
internal import Syscalls

/// `escra watch`: draws the kernel's figures of any cgroup, so that a supervised container can be
/// compared with another container.
struct WatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Draw a CPU limit and its use over time.",
    discussion: """
      # is used, = is the limit. On a terminal the chart is redrawn; else one line is printed a \
      tick. It ends with its time, or when the last process has left the cgroup, and then says \
      what was reserved and not used (the limit minus the use, over time) and for how long tasks \
      were throttled.
      """)

  @OptionGroup var common: CommonOptions

  @Argument(
    help: "The container's name, its id, or the beginning of that.",
    completion: .custom(containerWords))
  var id: String?

  @Option(
    help: ArgumentHelp(
      "A cgroup instead: its directory, or its path as /proc/PID/cgroup has it.",
      valueName: "path"))
  var cgroup: String?

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp("How long at most, such as 90s; else one day.", valueName: "time"),
    transform: Interval.init(typed:))
  var duration = Interval(seconds: 86_400)

  @Option(
    help: ArgumentHelp(
      "Time between two lines or columns, such as 500ms; else 1s.", valueName: "time"),
    transform: Interval.init(typed:))
  var tick = Interval(seconds: 1)

  @Option(help: ArgumentHelp("CPUs at the top of the chart.", valueName: "cores"))
  var scale: Double?

  @Option(help: ArgumentHelp("Text above the chart.", valueName: "text"))
  var title: String?

  @Option(
    help: ArgumentHelp("A file for the totals, one \"name value\" a line.", valueName: "file"))
  var summary: String?

  func validate() throws {
    if (id == nil) == (cgroup == nil) {
      throw ValidationError("say which container: an id, or --cgroup and a path")
    }
    if let scale, !(scale > 0 && scale <= 100_000) {
      throw ValidationError("--scale must be a number of CPUs, above none")
    }
  }

  func run() throws {
    let cpus = Double(Machine.onlineCPUs().count)
    let (probe, name, ceiling) = try target(cpus)
    let top = scale ?? ceiling
    let drawing = WatchDrawing(
      title: title ?? name, chart: Chart(scale: top, height: 8),
      isTerminal: Output.isTerminal)
    let totals = try Self.watch(
      probe, for: duration.nanoseconds, tick: tick.nanoseconds, cpus: cpus, drawing)
    try Output.write(lines: totals.lines)
    if let summary {
      let file = try FileDescriptor.open(summary, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
      try file.write(totals.pairs.map { "\($0.name) \(fixed($0.value, 3))\n" }.joined())
    }
  }

  /// What to watch, what to call it, and the most it may be given.
  private func target(_ cpus: Double) throws(Complaint) -> (CgroupProbe, String, Double) {
    if let cgroup {
      guard let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
        let location = locate(cgroup, mounts: mounts), let probe = CgroupProbe(location)
      else { throw Complaint("\"\(cgroup)\" is no cgroup that has a CPU limit") }
      return (probe, cgroup, cpus)
    }
    // A container that was started a moment ago is found by its supervisor a moment later.
    let deadline = monotonicNow() + 2_000_000_000
    let root = try common.stateRoot
    while true {
      let sights = Observer(root).look()
      let index = try choose(id ?? "", among: sights.map(\.candidate))
      if let probe = CgroupProbe(sights[index].state) {
        return (probe, sights[index].report.label, sights[index].report.ceiling)
      }
      guard monotonicNow() < deadline else {
        throw Complaint("the cgroup of \"\(sights[index].report.label)\" is not known, or gone")
      }
      usleep(20_000)
    }
  }

  /// Takes samples until time is up or no process is left.
  ///
  /// Limits change within a tick, so they are read every 10 ms.
  private static func watch(
    _ probe: CgroupProbe, for duration: Nanoseconds, tick: Nanoseconds, cpus: Double,
    _ drawing: WatchDrawing
  ) throws(Complaint) -> WatchTotals {
    let start = monotonicNow()
    var totals = WatchTotals(throttled: probe.throttled ?? 0)
    var samples: [Chart.Sample] = []
    guard let first = probe.usage else { return totals }
    var last = (time: start, usage: first)
    var drawn = last
    var nextDrawing = start + tick
    var reserved = 0.0
    while last.time < start + duration {
      sleep(until: min(last.time + 10_000_000, nextDrawing, start + duration))
      guard let usage = probe.usage else { break }
      let now = monotonicNow()
      let limit: Double
      switch probe.cpuLimit {
      case .unknown: limit = 0
      case .unlimited: limit = cpus
      case .at(let value): limit = min(value, cpus)
      }
      let elapsed = now - last.time
      reserved += limit * Double(elapsed)
      last = (now, usage)
      totals.take(used: usage - first, reserved: reserved, elapsed: now - start)
      if let throttled = probe.throttled { totals.throttledEnd = throttled }
      let hasEnded = !probe.hasMembers
      if now >= nextDrawing {
        let used = Double(usage - drawn.usage) / Double(now - drawn.time)
        samples.append(Chart.Sample(used: used, limit: limit))
        drawn = (now, usage)
        while nextDrawing <= now { nextDrawing += tick }
        try drawing.draw(samples, elapsed: now - start)
      }
      if hasEnded { break }
    }
    return totals
  }
}

/// Finds a cgroup's directories by the directory of its cpu controller, or by its path.
///
/// - Parameters:
///   - path: "/sys/fs/cgroup/cpu/demo", or "/demo".
///   - mounts: The text of /proc/self/mountinfo.
/// - Returns: nil when no hierarchy with the cpu controller is mounted, or the path is its root.
func locate(_ path: String, mounts: String) -> CgroupLocation? {
  func location(_ group: String) -> CgroupLocation? {
    CgroupLocation(group: group, mounts: mounts)
  }
  var directory = path
  while directory.utf8.count > 1, directory.utf8.last == UInt8(ascii: "/") {
    directory.removeLast()
  }
  // Below some mount the rest of a directory's path is the group.
  var rest = directory[...]
  while let slash = rest.dropFirst().firstIndex(of: "/") {
    rest = rest[slash...]
    if let found = location(String(rest)), found.cpu == directory { return found }
  }
  return location(directory.utf8.first == UInt8(ascii: "/") ? directory : "/" + directory)
}
