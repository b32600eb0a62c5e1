// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import LiveLimits
internal import OCISpec
internal import Syscalls

/// `escra app`.
struct AppCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "app", abstract: "Show, or change, what applications of several containers have.",
    subcommands: [AppListCommand.self, AppShowCommand.self, AppSetCommand.self],
    defaultSubcommand: AppListCommand.self)
}

/// `escra app list`.
struct AppListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the applications, their limits and what of them is granted.")

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print a JSON array.")
  var json = false

  func run() {
    let reports = ApplicationObserver(root: common.stateRoot).look()
    Output.write(
      lines: json
        ? [JSON.array(reports.map(\.json)).text] : ApplicationReport.table(of: reports).lines)
  }
}

/// What names an application.
struct ApplicationOptions: ParsableArguments {
  @Argument(help: "What the application is called, or its directory in apps/.")
  var name: String

  @Option(help: ArgumentHelp("The Kubernetes namespace.", valueName: "name"))
  var namespace: String?
}

/// `escra app show`.
struct AppShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Say what an application has, and which member has what of it.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var application: ApplicationOptions

  @Flag(help: "Print a JSON object.")
  var json = false

  func run() throws {
    let report = try choose(
      application: application.name, namespace: application.namespace,
      among: ApplicationObserver(root: common.stateRoot).look())
    Output.write(lines: json ? [report.json.text] : report.lines)
  }
}

/// `escra app set`.
struct AppSetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change what an application may use, while it runs.",
    discussion: """
      More holds at once. Less holds when its members have given the rest back, which is waited for; \
      what cannot be had back within a second is told.
      """)

  @OptionGroup var common: CommonOptions
  @OptionGroup var application: ApplicationOptions

  @Option(help: ArgumentHelp("The new CPU limit, such as 500m or 2.", valueName: "cores"))
  var cpu: String?

  @Option(help: ArgumentHelp("The new memory limit, such as 512Mi.", valueName: "bytes"))
  var memory: String?

  @Flag(help: "Print a JSON object.")
  var json = false

  func validate() throws {
    if cpu == nil && memory == nil { throw ValidationError("say what to set: --cpu or --memory") }
    _ = try limits()
  }

  private func limits() throws -> [(SharedResource, Int64)] {
    var limits: [(SharedResource, Int64)] = []
    do throws(QuantityError) {
      if let cpu { limits.append((.cpu, CPULimit(try CPUQuantity(cpu)).nanocores)) }
      if let memory { limits.append((.memory, try ByteQuantity(memory).roundedUpToPages.bytes)) }
    } catch {
      throw ValidationError(error.description)
    }
    for (resource, limit) in limits where !(1...ApplicationMessage.most).contains(limit) {
      throw ValidationError("\(resource.shown(limit)) is no limit")
    }
    return limits
  }

  func run() throws {
    let report = try choose(
      application: application.name, namespace: application.namespace,
      among: ApplicationObserver(root: common.stateRoot).look())
    let room = try ApplicationRoom(opening: common.stateRoot.applications + "/" + report.room)
    var outcomes: [(SharedResource, ApplicationMessage.Figures)] = []
    for (resource, limit) in try limits() {
      let answer = ApplicationCall.ask(
        .set(limit), about: resource, in: room, patience: 3_000_000_000)
      switch answer {
      case .figures(let figures)?: outcomes.append((resource, figures))
      case .refuse(.minima, let least)?:
        throw Complaint(
          "\(report.name) cannot have \(resource.shown(limit)): its members need "
            + "\(resource.shown(least)) at the least")
      default:
        throw Complaint("the broker of \(report.name) does not answer; try again in a second")
      }
    }
    Output.write(
      lines: json
        ? [Self.json(outcomes).text]
        : outcomes.map { Self.sentence(report.name, $0, $1) })
  }

  private static func json(_ outcomes: [(SharedResource, ApplicationMessage.Figures)]) -> JSON {
    .object(
      outcomes.map { resource, figures in
        func number(_ amount: Int64) -> JSON {
          resource == .cpu ? .number(Double(amount) / 1e9) : .integer(amount)
        }
        return (
          resource.title,
          .object([("limit", number(figures.limit)), ("inForce", number(figures.inForce))])
        )
      })
  }

  /// What came of it, in a sentence.
  static func sentence(
    _ name: String, _ resource: SharedResource, _ figures: ApplicationMessage.Figures
  ) -> String {
    let limit = resource.shown(figures.limit)
    guard figures.inForce > figures.limit else {
      return Table.printable("\(name): \(limit) from now on")
    }
    let missing = resource.shown(figures.inForce - figures.limit)
    return Table.printable(
      "\(name): \(limit) as soon as its members have given back the rest; "
        + "\(missing) could not be recalled within a second, and "
        + "\(resource.shown(figures.inForce)) holds until then")
  }
}

extension SharedResource {
  var title: String { self == .cpu ? "cpu" : "memory" }

  /// An amount as people write it.
  func shown(_ amount: Int64) -> String {
    switch self {
    case .cpu: "\(fixed(Double(amount) / 1e9, 2)) cores"
    case .memory: "\(bytes(amount)) of memory"
    }
  }
}
