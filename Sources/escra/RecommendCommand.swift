// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Control
internal import LiveLimits
internal import State
internal import Syscalls

/// `escra recommend`.
struct RecommendCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recommend", abstract: "Recommend limits for the containers of a profile.",
    discussion: """
      From what its runs needed: what a scheduler should count with (request), a limit that throttles \
      hardly ever and does not kill, and between what io.escra.policy: reactive should move. Each \
      figure comes with its evidence.
      """)

  /// How a recommendation is printed.
  enum Format: String, CaseIterable, ExpressibleByArgument {
    case table, docker, kubernetes, json
  }

  @OptionGroup var options: HistoryOptions
  @OptionGroup var common: CommonOptions

  @Argument(help: "The profile: NAME, or NAMESPACE/NAME; with --live the id of a container.")
  var name: String

  @Option(
    name: .customLong("as"), help: "The form of the output: table, docker, kubernetes or json.")
  var format = Format.table

  @Flag(help: "Use only the container that runs now.")
  var live = false

  func run() throws {
    let (title, runs) = live ? try liveRun() : try profileRuns()
    guard let recommendation = Recommendation(Profile(runs, now: wallClockNow())) else {
      throw Complaint(
        "\(title) was never busy for a period, so there is nothing to conclude; let it work first")
    }
    let report = RecommendationReport(title: title, recommendation: recommendation)
    switch format {
    case .table: try Output.write(lines: report.lines)
    case .docker: try Output.write(lines: [report.docker])
    case .kubernetes: try Output.write(lines: report.kubernetes)
    case .json: try Output.write(lines: [report.json.text])
    }
  }

  private func profileRuns() throws -> (String, [Run]) {
    let profile = try options.profile(name)
    return (profile.title, profile.runs)
  }

  /// Has the supervisor write a snapshot, and takes that one.
  private func liveRun() throws -> (String, [Run]) {
    let sights = Observer(try common.stateRoot).look()
    let sight = sights[
      try choose(name, among: sights.map(\.candidate))]
    guard let target = sight.state.profile else {
      throw Complaint(
        "container \(sight.state.id) has no history; write io.escra.profile: NAME and have the "
          + "operator's config contain \"history\"")
    }
    guard let found = try HistoryStore(path: target.directory).snapshot(of: sight.path, target)
    else {
      throw Complaint(
        "the supervisor of container \(sight.state.id) has left no record within 1 s; see escra ps")
    }
    return (sight.state.id, found)
  }
}
