// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Control
internal import State
internal import Syscalls

/// `escra history`.
struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history", abstract: "Show what is remembered of containers that have a profile.",
    subcommands: [
      HistoryShowCommand.self, HistoryForgetCommand.self, HistoryExportCommand.self,
    ],
    defaultSubcommand: HistoryShowCommand.self)
}

/// `escra history show`.
struct HistoryShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "List the profiles, or the runs of one profile.",
    discussion: """
      CPU is in cores, memory in bytes with Kubernetes' suffixes. A run that goes on is shown as of \
      its last snapshot, which a busy container writes every 10 minutes.
      """)

  @OptionGroup var options: HistoryOptions

  @Argument(help: "The profile: NAME, or NAMESPACE/NAME.")
  var name: String?

  @Option(help: ArgumentHelp("How many runs to show, the last ones.", valueName: "number"))
  var last = 20

  @Flag(help: "Print a JSON array.")
  var json = false

  func run() throws {
    let profiles = try options.profiles()
    guard let name else {
      try Output.write(
        lines: json
          ? [JSON.array(profiles.map(\.json)).text] : Table.profiles(profiles).lines)
      return
    }
    let profile = try chooseProfile(name, among: profiles)
    let runs = profile.runs.suffix(max(1, last))
    var lines =
      json ? [JSON.array(runs.map { $0.total.json }).text] : Table.runs(Array(runs)).lines
    if profile.isDamaged, !json {
      lines.append("Some bytes in \(profile.path) are no records; they are left out.")
    }
    try Output.write(lines: lines)
  }
}

/// `escra history forget`.
struct HistoryForgetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "forget", abstract: "Remove the history of a profile.",
    discussion: "Containers that run now are not recorded any more; those that start later are.")

  @OptionGroup var options: HistoryOptions

  @Argument(help: "The profile: NAME, or NAMESPACE/NAME.")
  var name: String

  func run() throws {
    let profile = try options.profile(name)
    let runs = profile.runs.count
    do throws(SystemError) { try profile.forget() } catch { throw Complaint(error.description) }
    try Output.write("\(profile.title): \(runs == 1 ? "1 run" : "\(runs) runs") forgotten\n")
  }
}
