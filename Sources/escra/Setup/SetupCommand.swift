// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import State

/// `escra setup`.
struct SetupCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "setup", abstract: "Register escra-runc with an engine, or unregister it.",
    discussion: """
      The engine gets the runtimes escra (annotations say the policy), escra-observe, \
      escra-reactive and escra-strict, with the settings that it has for runc. Podman, CRI-O and \
      containerd with imports get a file of their own; daemon.json and config.toml are edited, and \
      all that is in them stays as it is. Doing it twice changes nothing; --undo restores the files \
      byte for byte. kubernetes prints manifests: a RuntimeClass, a DaemonSet that installs and \
      registers the runtime on each node, and three Deployments as examples.
      """)

  /// What can be set up.
  enum Target: Equatable, ExpressibleByArgument {
    case engine(Engine)
    case kubernetes

    static let allValueStrings = Engine.allCases.map(\.rawValue) + ["kubernetes"]

    init?(argument: String) {
      if argument == "kubernetes" {
        self = .kubernetes
      } else if let engine = Engine(rawValue: argument) {
        self = .engine(engine)
      } else {
        return nil
      }
    }
  }

  @Argument(help: "docker, containerd, podman, crio or kubernetes.")
  var target: Target

  @Flag(help: "Print what would change as a diff, and change nothing.")
  var dryRun = false

  @Flag(help: "Remove the runtimes again.")
  var undo = false

  @Option(
    help: ArgumentHelp(
      "The engine's config, if it is not at its usual place.", valueName: "file"))
  var config: String?

  @Option(
    help: ArgumentHelp("The program escra-runc, if it is not beside escra.", valueName: "file"))
  var binary: String?

  @Option(
    help: ArgumentHelp(
      "kubernetes: an image with escra-runc in /usr/bin, and nsenter.", valueName: "image"))
  var image: String?

  @Option(
    help: ArgumentHelp("kubernetes: the nodes' engine, containerd or crio.", valueName: "engine"))
  var nodes: Engine?

  @Flag(
    help: "kubernetes: print what applications that span nodes need: a custom resource, an agent.")
  var cluster = false

  private var engine: Engine {
    if case .engine(let engine) = target { engine } else { .containerd }
  }

  func validate() throws {
    let isKubernetes = target == .kubernetes
    if !isKubernetes, image != nil || nodes != nil || cluster {
      throw ValidationError("--image, --nodes and --cluster are for escra setup kubernetes")
    }
    if isKubernetes, dryRun || undo || config != nil || binary != nil {
      throw ValidationError(
        "escra setup kubernetes prints manifests and changes nothing; it takes --image and --nodes")
    }
    if let nodes, nodes != .containerd, nodes != .crio {
      throw ValidationError("--nodes must be containerd or crio")
    }
    if let image, image.utf8.contains(where: { $0 <= 32 || $0 >= 127 || $0 == UInt8(ascii: "#") }) {
      throw ValidationError("--image \(image) is no name of an image")
    }
  }

  func run() throws {
    if target == .kubernetes, cluster {
      var manifests = ClusterManifests()
      manifests.image = image ?? manifests.image
      return try Output.write(manifests.text)
    }
    if target == .kubernetes {
      var manifests = KubernetesManifests()
      manifests.image = image ?? manifests.image
      manifests.engine = nodes ?? manifests.engine
      return try Output.write(manifests.text)
    }
    let config = config.map { StateRoot.runtimeRoot($0) } ?? engine.config
    let files = EngineFiles(engine: engine, config: config)
    let check = EngineCheck(engine: engine, config: config)
    var names: RuntimeNames?
    if !undo {
      let found = RuntimeNames(
        program: binary.map { StateRoot.runtimeRoot($0) } ?? RuntimeProgram.path)
      try found.checkPrograms()
      try refuseFlags(check)
      names = found
    }
    let changes =
      try names.map { names throws(Complaint) in try files.registration(names) }
      ?? files.removal()
    if dryRun { return try Output.write(lines: changes.flatMap(\.diff)) }
    try apply(changes, check, names)
    var lines = changes.map {
      $0.after == nil
        ? "removed \($0.path)" : $0.before == nil ? "wrote \($0.path)" : "changed \($0.path)"
    }
    if changes.isEmpty {
      lines.append(
        undo
          ? "\(engine.title) has no runtime that escra setup added; nothing was changed."
          : "\(engine.title)'s config has all runtimes already; nothing was changed.")
    }
    lines += conclusion(check, changes)
    try Output.write(lines: lines)
  }

  /// Docker takes runtimes from its flags or from its file, not from both.
  private func refuseFlags(_ check: EngineCheck) throws(Complaint) {
    guard engine == .docker, let daemon = check.daemon,
      daemon.arguments.contains(where: { $0.hasPrefix("--add-runtime") })
    else { return }
    throw Complaint(
      "dockerd (process \(daemon.pid)) is started with --add-runtime and would refuse runtimes in "
        + "daemon.json beside it; move those of its flags into daemon.json first")
  }

  /// Writes the files; if the engine refuses the result, writes back what they were.
  private func apply(
    _ changes: [FileChange], _ check: EngineCheck, _ names: RuntimeNames?
  ) throws(Complaint) {
    let before = check.runtimes()
    var done: [FileChange] = []
    var failure: Complaint?
    do throws(Complaint) {
      for change in changes {
        try change.apply()
        done.append(change)
      }
      if !changes.isEmpty, let refusal = check.refusal(names, before: before) {
        throw Complaint("\(engine.title) refuses the result, so nothing was changed: \(refusal)")
      }
    } catch { failure = error }
    guard let failure else { return }
    for change in done.reversed() { try change.reversed.apply() }
    throw failure
  }

  /// What is left to do.
  private func conclusion(_ check: EngineCheck, _ changes: [FileChange]) -> [String] {
    let name = engine.title
    guard Program.find(engine.program) != nil else {
      return ["\(name) is not installed, so nothing has checked its config."]
    }
    if engine == .podman {
      return undo ? [] : ["Podman reads this with each command: podman --runtime escra run …"]
    }
    guard let daemon = check.daemon else {
      return ["\(name) does not run with this config; it reads it when it is started."]
    }
    let reload = check.reload(isUndone: undo)
    switch (check.isKnown(changed: changes), undo) {
    case (true?, false):
      return [
        "\(name) (process \(daemon.pid)) knows \(RuntimeNames.words.joined(separator: ", "))."
      ]
    case (true?, true) where changes.isEmpty && engine != .docker,
      (false?, true) where engine == .docker:
      return ["\(name) (process \(daemon.pid)) knows no runtime of ours."]
    case (nil, _):
      return ["\(name) (process \(daemon.pid)) does not answer; to have it read this: \(reload)."]
    default:
      let goal = undo ? "still knows the runtimes" : "does not know the runtimes yet"
      return ["\(name) (process \(daemon.pid)) \(goal); run \(reload)."]
    }
  }
}
