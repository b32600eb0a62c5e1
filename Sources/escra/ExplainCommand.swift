// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import LiveLimits
internal import Syscalls

/// `escra explain`.
struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Say in sentences why a container's limit is what it is.")

  @OptionGroup var common: CommonOptions

  @Argument(help: "The container's id, or the beginning of one.")
  var id: String

  @Option(
    help: ArgumentHelp("The runtime's root, where two have the id.", valueName: "dir"),
    transform: StateRoot.runtimeRoot)
  var root: String?

  @Option(help: ArgumentHelp("How many decisions to tell.", valueName: "number"))
  var last = 10

  @Flag(help: "Print a JSON object.")
  var json = false

  func validate() throws {
    if last < 0 { throw ValidationError("--last must not be negative") }
  }

  func run() throws {
    let stateRoot = try common.stateRoot
    let observer = Observer(stateRoot)
    let sights = observer.lookTwice()
    let sight = sights[
      try choose(id, root: root, among: sights.map { ($0.state.id, $0.state.root) })]
    let explanation = Explanation(
      state: sight.state, report: sight.report, entries: sight.entries,
      limitAbove: Self.leastLimit(above: sight.state), cpus: Machine.onlineCPUs().count,
      parent: ParentRegistry.sight(of: sight.state, stateRoot))
    if json {
      Output.write(lines: [explanation.json(last: last).text])
    } else {
      let now = wallClockNow()
      Output.write(lines: explanation.lines(last: last, now: now, offset: localOffset(at: now)))
    }
  }

  /// The least limit of the groups above the container's own, in cores.
  private static func leastLimit(above state: ContainerState) -> Double? {
    guard let path = state.cpuDirectory,
      let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo")
    else { return nil }
    let least = locate(path, mounts: mounts)?.ancestorLimit(
      of: state.cgroupName, besides: state.cpuParent)
    return least.map { Double($0) / 1e9 }
  }
}
