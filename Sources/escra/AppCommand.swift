// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import ArgumentParser
internal import Cgroups
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State

/// `escra app`.
struct AppCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "app", abstract: "Show or change the limits of applications.",
    subcommands: [AppListCommand.self, AppShowCommand.self, AppSetCommand.self],
    defaultSubcommand: AppListCommand.self)
}

/// `escra app list`.
struct AppListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the applications, their limits, and how much is granted.")

  @OptionGroup var common: CommonOptions

  @Flag(help: "Print a JSON array.")
  var json = false

  func run() throws {
    let reports = ApplicationObserver(root: try common.stateRoot).look()
    try Output.write(
      lines: json
        ? [JSON.array(reports.map(\.json)).text] : ApplicationReport.table(of: reports).lines)
  }
}

/// What names an application.
struct ApplicationOptions: ParsableArguments {
  @Argument(
    help: "The application's name, or its directory in apps/.",
    completion: Completion.applications)
  var name: String

  @Option(help: ArgumentHelp("The Kubernetes namespace.", valueName: "name"))
  var namespace: String?
}

/// `escra app show`.
struct AppShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show the limits of an application and of its members.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var application: ApplicationOptions

  @Flag(help: "Print a JSON object.")
  var json = false

  func run() throws {
    let report = try choose(
      application: application.name, namespace: application.namespace,
      among: ApplicationObserver(root: common.stateRoot).look())
    try Output.write(lines: json ? [report.json.text] : report.lines(columns: Output.columns))
  }
}

/// `escra app set`.
struct AppSetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change the limits of an application while it runs.",
    discussion: """
      A higher limit is in force at once. A lower one is in force when the members have lowered \
      theirs; what they have not released after one second is named.
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
    func read(
      _ option: String, _ text: String?, _ resource: SharedResource,
      _ amount: (String) throws(QuantityError) -> Int64
    ) throws {
      guard let text else { return }
      let limit: Int64
      do throws(QuantityError) { limit = try amount(text) } catch {
        throw ValidationError("\(option) \"\(text)\" \(error.description)")
      }
      guard (1...ApplicationMessage.most).contains(limit) else {
        throw ValidationError(
          "\(option) \"\(text)\" is out of range; write more than 0 and at most "
            + resource.shown(ApplicationMessage.most))
      }
      limits.append((resource, limit))
    }
    try read("--cpu", cpu, .cpu) { text throws(QuantityError) in
      try CPUAmount(text).nanocores
    }
    try read("--memory", memory, .memory) { text throws(QuantityError) in
      try ByteQuantity(text).roundedUpToPages.bytes
    }
    return limits
  }

  func run() throws {
    let root = try common.stateRoot
    let report = try choose(
      application: application.name, namespace: application.namespace,
      among: ApplicationObserver(root: root).look())
    let limits = try limits()
    // The broker will say so, too, but of two limits the other one would be set by then.
    for (resource, limit) in limits where limit < report.least(of: resource) {
      throw Self.tooLittle(report.name, resource, limit, report.least(of: resource))
    }
    let room = try ApplicationDirectory(opening: root.applications + "/" + report.room)
    let (outcomes, complaint) = Self.set(limits, of: report.name) { resource, limit in
      ApplicationCall.ask(.set(limit), about: resource, in: room, patience: 3_000_000_000)
    }
    root.announceLimits(of: report.room)
    if !outcomes.isEmpty {
      try Output.write(
        lines: json
          ? [Self.json(outcomes, asked: limits).text]
          : outcomes.enumerated().map { index, outcome in
            Self.sentence(report.name, outcome.0, outcome.1, asked: limits[index].1)
          })
    }
    if let complaint { throw complaint }
  }

  /// Asks for one limit after the other, until one is refused.
  ///
  /// - Returns: What was set, and stays so whatever was refused after it; and that.
  static func set(
    _ limits: [(SharedResource, Int64)], of name: String,
    ask: (SharedResource, Int64) -> ApplicationMessage.Body?
  ) -> (outcomes: [(SharedResource, ApplicationMessage.Figures)], complaint: Complaint?) {
    var outcomes: [(SharedResource, ApplicationMessage.Figures)] = []
    for (resource, limit) in limits {
      switch ask(resource, limit) {
      case .figures(let figures)?: outcomes.append((resource, figures))
      case .refuse(.minima, let least)?:
        return (outcomes, tooLittle(name, resource, limit, least))
      default:
        return (
          outcomes, Complaint("the broker of \(name) does not answer; try again in a second")
        )
      }
    }
    return (outcomes, nil)
  }

  private static func tooLittle(
    _ name: String, _ resource: SharedResource, _ limit: Int64, _ least: Int64
  ) -> Complaint {
    Complaint(
      "\(name) cannot have \(resource.shown(limit)): its members need "
        + "\(resource.shown(least)) at least")
  }

  private static func json(
    _ outcomes: [(SharedResource, ApplicationMessage.Figures)], asked: [(SharedResource, Int64)]
  ) -> JSON {
    .object(
      zip(outcomes, asked).map { outcome, asked in
        let (resource, figures) = outcome
        func number(_ amount: Int64) -> JSON {
          resource == .cpu ? .number(Double(amount) / 1e9) : .integer(amount)
        }
        return (
          resource.title,
          .object([
            ("limit", number(figures.limit)), ("inForce", number(figures.inForce)),
            ("asked", number(asked.1)),
          ])
        )
      })
  }

  /// What came of it, in a sentence.
  ///
  /// - Parameters:
  ///   - name: The application.
  ///   - resource: What was set.
  ///   - figures: What its broker has made of it.
  ///   - asked: What was asked for; nil where that is the limit.
  ///   - machine: What the machine has of it.
  /// - Returns: The sentence.
  static func sentence(
    _ name: String, _ resource: SharedResource, _ figures: ApplicationMessage.Figures,
    asked: Int64? = nil, machine: Int64? = nil
  ) -> String {
    var limit = resource.shown(figures.limit)
    if let asked, asked > figures.limit {
      let isAll = figures.limit >= machine ?? resource.ofMachine
      limit +=
        ", not the \(resource.shown(asked)) asked for"
        + (isAll ? ", as this machine has no more" : ", as the operator's ceiling allows no more")
        + ","
    }
    guard figures.inForce > figures.limit else {
      return Table.printable("\(name): \(limit) from now on")
    }
    let missing = resource.shown(figures.inForce - figures.limit)
    return Table.printable(
      "\(name): \(limit) as soon as its members have lowered their limits; "
        + "\(missing) could not be recalled within one second, and "
        + "\(resource.shown(figures.inForce)) holds until then")
  }
}

extension SharedResource {
  var title: String { self == .cpu ? "cpu" : "memory" }

  /// What this machine has of it.
  fileprivate var ofMachine: Int64 {
    self == .cpu ? Int64(Machine.onlineCPUs().count) * 1_000_000_000 : Machine.memory()
  }

  /// An amount as people write it.
  func shown(_ amount: Int64) -> String {
    switch self {
    case .cpu: "\(fixed(Double(amount) / 1e9, 2)) cores"
    case .memory: "\(bytes(amount)) of memory"
    }
  }
}
