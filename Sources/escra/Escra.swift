// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import OCISpec
internal import State
internal import Syscalls

/// `escra`: the operator's tool.
///
/// It reads the state files and the kernel, and changes nothing but what an application may use
/// (`app set`) and whether a container is supervised at all (`release`, `adopt`).
@main
struct Escra: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "escra",
    abstract: "Show and change what escra-runc does with the limits of containers.",
    version: "escra version \(EscraVersion.current)",
    subcommands: [
      ListCommand.self, TopCommand.self, ExplainCommand.self, WatchCommand.self, AppCommand.self,
      ReleaseCommand.self, AdoptCommand.self, DoctorCommand.self, MetricsCommand.self,
      EventsCommand.self, SetupCommand.self, DemoCommand.self, DemoLoadCommand.self,
      HistoryCommand.self, RecommendCommand.self, ReplayCommand.self,
    ])

  /// Runs the command; help and versions, too, are output that can fail to be written.
  static func main() {
    Output.fillStandardDescriptors()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      guard exitCode(for: error).isSuccess else { exit(withError: error) }
      do { try Output.write(lines: [fullMessage(for: error)]) } catch { exit(withError: error) }
    }
  }
}

/// What all subcommands take.
struct CommonOptions: ParsableArguments {
  @Option(
    name: .customLong("state"),
    help: ArgumentHelp("Directory of the state files.", valueName: "dir", visibility: .hidden))
  var statePath = StateRoot.configured.path

  /// Where containers are looked for.
  ///
  /// To a user without access the directory would look empty.
  var stateRoot: StateRoot {
    get throws(Complaint) {
      let root = StateRoot(path: statePath)
      do throws(SystemError) { try root.checkAccess() } catch {
        throw Complaint(error.description + (error.errno == EACCES ? "; run it as root" : ""))
      }
      return root
    }
  }
}

extension StateRoot {
  /// What the operator's config names, else /run/escra.
  static var configured: StateRoot {
    do throws(OperatorConfigError) {
      return try OperatorConfig.load(path: OperatorConfig.defaultPath).stateRoot
        .map { StateRoot(path: $0) } ?? .system
    } catch { return error.stateRoot.map { StateRoot(path: $0) } ?? .system }
  }
}

/// A sentence for the person at the terminal; the program exits with 1.
struct Complaint: Error, Equatable, CustomStringConvertible {
  /// The sentence.
  let description: String

  /// Makes a complaint of one sentence.
  init(_ description: String) { self.init(lines: [description]) }

  /// Makes one of several sentences, each in a line of its own.
  init(lines: [String]) { description = lines.map(Table.printable).joined(separator: "\n") }
}
