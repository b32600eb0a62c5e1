// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Cgroups
internal import Glibc
internal import LiveLimits
internal import State
internal import Syscalls

/// `escra explain`.
struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Explain in sentences why a container's limit is what it is.")

  @OptionGroup var common: CommonOptions

  @Argument(
    help: "The container's name, its id, or the beginning of that.",
    completion: .custom(containerWords))
  var id: String

  @Option(
    help: ArgumentHelp("The runtime's root, where two have the id.", valueName: "dir"),
    transform: StateRoot.runtimeRoot)
  var root: String?

  @Option(help: ArgumentHelp("How many decisions to show.", valueName: "number"))
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
      try choose(id, root: root, among: sights.map(\.candidate))]
    let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo") ?? ""
    let explanation = Explanation(
      state: sight.state, report: sight.report, entries: sight.entries,
      limitAbove: sight.state.cpuLimitAbove(mounts),
      memoryAbove: sight.state.memoryLimitAbove(mounts), cpus: Machine.onlineCPUs().count,
      parent: ParentRegistry.sight(of: sight.state, stateRoot),
      cluster: sight.state.membership.flatMap {
        $0.isClusterScoped
          ? ApplicationDirectory.ifThere(stateRoot.applications + "/" + $0.room)?.clusterStatus
          : nil
      })
    if json {
      try Output.write(lines: [explanation.json(last: last).text])
    } else {
      let now = wallClockNow()
      let lines = explanation.lines(last: last, now: now, offset: localOffset(at: now))
      try Output.write(lines: Table.wrapped(lines, to: Output.columns))
    }
  }
}

extension ContainerState {
  private func location(_ mounts: String) -> CgroupLocation? {
    let found = cpuDirectory.flatMap { locate($0, mounts: mounts) }
    return memoryInnerName == nil ? found : found?.around()
  }

  /// The least CPU limit of the groups above the container's own.
  ///
  /// - Parameter mounts: The text of /proc/self/mountinfo.
  /// - Returns: Cores; nil where no group has a limit.
  func cpuLimitAbove(_ mounts: String) -> Double? {
    let least = location(mounts)?.ancestorLimit(of: cgroupName, besides: cpuParent)
    return least.map { Double($0) / 1e9 }
  }

  /// The same of its memory limit, in bytes, if that moves.
  func memoryLimitAbove(_ mounts: String) -> Int64? {
    guard memory != nil, let location = location(mounts), let directory = location.memory else {
      return nil
    }
    let own = CgroupLocation.scope(around: directory, named: cgroupName) ?? directory
    return location.memoryLimit(above: memoryParent ?? own)
  }
}
