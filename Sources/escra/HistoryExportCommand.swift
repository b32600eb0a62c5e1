// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Control
internal import Glibc
internal import State

/// `escra history export`.
struct HistoryExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Print all runs of all profiles, for other programs.",
    discussion: """
      CPU is in cores, memory in bytes; a figure that is not known is left out. An SQLite file gets a \
      table `runs`, which is made anew.
      """)

  @OptionGroup var options: HistoryOptions

  @Argument(help: "The profile: NAME, or NAMESPACE/NAME; all where it is left out.")
  var name: String?

  @Flag(help: "Print comma-separated values, the names in the first line.")
  var csv = false

  @Flag(help: "Print a JSON array.")
  var json = false

  @Option(help: ArgumentHelp("Write an SQLite database.", valueName: "file"))
  var sqlite: String?

  func validate() throws {
    if [csv, json, sqlite != nil].filter({ $0 }).count != 1 {
      throw ValidationError("Write one of --csv, --json and --sqlite FILE.")
    }
  }

  func run() throws {
    let all = try options.profiles()
    let profiles = try name.map { [try chooseProfile($0, among: all)] } ?? all
    if let sqlite { return try RunDatabase(path: sqlite).write(profiles) }
    if csv { return try Output.write(lines: runsAsCSV(profiles)) }
    let runs = profiles.flatMap { profile in
      profile.runs.map { run -> JSON in
        guard case .object(let members) = run.total.json else { return .null }
        return .object(profile.names + members)
      }
    }
    try Output.write(lines: [JSON.array(runs).text])
  }
}

extension StoredProfile {
  /// What tells its runs from those of other profiles.
  var names: [(name: String, value: JSON)] {
    [("profile", .string(name)), ("namespace", .optional(namespace)), ("root", .string(root))]
  }
}

/// Runs as RFC 4180 has them; a value that is not known is empty.
func runsAsCSV(_ profiles: [StoredProfile]) -> [String] {
  var lines: [String] = []
  for profile in profiles {
    for run in profile.runs {
      let figures = profile.names + run.total.figures
      if lines.isEmpty { lines.append(figures.map(\.name).joined(separator: ",")) }
      lines.append(figures.map { $0.value.field }.joined(separator: ","))
    }
  }
  return lines
}

extension JSON {
  /// The value as a field of comma-separated values.
  fileprivate var field: String {
    switch self {
    case .null: ""
    case .string(let text):
      text.contains { $0 == "," || $0 == "\"" || $0 == "\n" || $0 == "\r" }
        ? "\""
          + text.split(separator: "\"", omittingEmptySubsequences: false)
          .joined(separator: "\"\"") + "\"" : text
    default: line
    }
  }
}
