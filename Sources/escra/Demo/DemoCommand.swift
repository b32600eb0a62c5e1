// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// `escra demo`.
struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Run the same requests under a static limit and under a limit that follows demand.",
    discussion: """
      Two containers side by side, without an engine and without an image: both declare half a CPU, \
      and the reactive one may have one CPU for a moment. # is used, = is the limit. Needs root, runc \
      or crun, and two CPUs that are mostly idle.
      """)

  @Option(help: ArgumentHelp("For how long requests arrive; else 13.", valueName: "seconds"))
  var seconds = 13

  @Flag(help: "Run it on a busy machine, too, although its figures mean little.")
  var anyway = false

  func validate() throws {
    if !(2...600).contains(seconds) { throw ValidationError("--seconds must be from 2 to 600") }
  }

  func run() throws {
    guard geteuid() == 0 else { throw Complaint("starting containers needs root; run it as root") }
    let busy = Self.busy(
      pressure: FileDescriptor.textIfReadable(of: "/proc/pressure/cpu") ?? "",
      cpus: Machine.onlineCPUs().count)
    if let busy, !anyway {
      throw Complaint(
        "\(busy), so the figures would be those of the machine; try again when it is idle, or add "
          + "--anyway")
    }
    let name = "escra-demo-\(getpid())"
    let parent = "/run/\(name)"
    mkdir(parent, 0o700)
    defer { rmdir(parent) }
    let runtime = RuntimeProgram.path
    let annotations = [
      ("io.escra.policy", "reactive"), ("io.escra.cpu.max", trimmed(DemoLoad.most, 1)),
    ]
    var containers: [DemoContainer] = []
    defer { for container in containers { container.remove() } }
    for (title, annotations) in [("static", []), ("reactive", annotations)] {
      containers.append(
        try DemoContainer(
          title, annotations: annotations, in: parent, runtime: runtime, seconds: seconds))
    }
    let signals = Self.blockSignals()
    for container in containers { try container.start() }
    guard try watch(containers, until: signals) else { throw ExitCode(130) }
    for container in containers where container.latencies.isEmpty {
      throw Complaint(
        "the container \(container.title) did not start: \(container.complaint ?? "no reason given")"
      )
    }
    let warning = busy.map {
      "Before it began, \($0), so these figures are partly those of the machine."
    }
    let lines = Self.conclusion(containers[0], containers[1]) + [warning].compactMap(\.self)
    try Output.write(lines: Table.wrapped(lines, to: Output.columns))
  }

  /// Why the machine is too busy for a demo; nil where it is not.
  ///
  /// - Parameters:
  ///   - pressure: The text of /proc/pressure/cpu; empty where there is none.
  ///   - cpus: CPUs of the machine.
  /// - Returns: A clause.
  static func busy(pressure: String, cpus: Int) -> String? {
    if cpus < 2 { return "this machine has one CPU, which the two containers would have to share" }
    let some = pressure.split(separator: "\n").first { $0.hasPrefix("some ") }
    let average = some?.split(separator: " ").first { $0.hasPrefix("avg10=") }?.dropFirst(6)
    guard let average = average.flatMap({ Double($0) }), average >= 10 else { return nil }
    return
      "this machine was busy: tasks waited for a CPU in \(fixed(average, 0)) % of the last 10 s"
  }

  /// Looks until both have ended.
  ///
  /// - Returns: Whether that was before a signal.
  private func watch(
    _ containers: [DemoContainer], until signals: borrowing FileDescriptor
  ) throws(Complaint) -> Bool {
    let start = monotonicNow()
    let drawing = DemoDrawing(isTerminal: Output.isTerminal)
    let tick: Nanoseconds = Output.isTerminal ? 250_000_000 : 1_000_000_000
    var next = start + tick
    // The static one needs longer than requests arrive.
    let deadline = start + Nanoseconds(seconds) * 3_000_000_000
    while !containers.allSatisfy(\.hasEnded), monotonicNow() < deadline {
      var entry = pollfd(fd: signals.number, events: Int16(POLLIN), revents: 0)
      if poll(&entry, 1, 20) > 0 { return false }
      for container in containers { container.look() }
      if monotonicNow() >= next {
        next += tick
        for container in containers { container.sample() }
        try drawing.draw(containers, elapsed: monotonicNow() - start)
      }
    }
    return true
  }

  /// The result in three lines.
  static func conclusion(_ fixedLimit: DemoContainer, _ reactive: DemoContainer) -> [String] {
    func line(_ title: String, _ value: (DemoContainer) -> String) -> String {
      "\(title): \(value(fixedLimit)) under the static limit, \(value(reactive)) under reactive."
    }
    return [
      line("p99 of \(reactive.latencies.count) requests") { container in
        let p99 = DemoLoad.percentile(99, of: container.latencies) ?? 0
        return "\((p99 + 500_000) / 1_000_000) ms"
      },
      line("Throttled") { "\(fixed($0.totals.throttled, 2)) s" },
      line("Reserved, unused") { "\(fixed($0.totals.unused, 1)) core s" },
    ]
  }

  /// Signals that end it come as a descriptor, so that the containers are removed.
  private static func blockSignals() -> FileDescriptor {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { sigaddset(&mask, signal) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    return FileDescriptor(owning: signalfd(-1, &mask, CInt(SFD_CLOEXEC)))
  }
}

/// Draws the containers side by side in one place of a terminal, else a line each time.
final class DemoDrawing {
  private let isTerminal: Bool
  private var drawn = 0

  init(isTerminal: Bool) { self.isTerminal = isTerminal }

  func draw(_ containers: [DemoContainer], elapsed: Nanoseconds) throws(Complaint) {
    guard isTerminal else {
      let parts = containers.map { container in
        let last = container.samples.last
        return "\(container.title): limit \(cores(last?.limit ?? 0)) used \(cores(last?.used ?? 0))"
      }
      return try Output.write(
        "\(fixed(Double(elapsed) / 1e9, 1)) s  \(parts.joined(separator: "  "))\n")
    }
    let width = max(20, (Output.size.columns - 2) / 2)
    let panels = containers.map { Self.panel($0, width: width) }
    let lines = panels[0].indices.map { index in
      panels.map { panel in
        panel[index] + String(repeating: " ", count: max(0, width - panel[index].count))
      }.joined(separator: "  ")
    }
    // Up over what was drawn before.
    let up = drawn > 0 ? "\u{1b}[\(drawn)F" : ""
    try Output.write(up + lines.map { $0 + "\u{1b}[K\n" }.joined())
    drawn = lines.count
  }

  /// One container's title, chart and figures.
  private static func panel(_ container: DemoContainer, width: Int) -> [String] {
    let chart = Chart(scale: 1, height: 8)
    let p99 = DemoLoad.percentile(99, of: container.latencies).map { "\($0 / 1_000_000) ms" } ?? "-"
    return [container.title] + chart.lines(container.samples, width: width) + [
      "p99 \(p99)  throttled \(fixed(container.totals.throttled, 1)) s",
      "reserved, unused \(fixed(container.totals.unused, 1)) core s",
    ]
  }
}
