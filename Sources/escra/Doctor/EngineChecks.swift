// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import OCISpec

/// What an engine's config says of runtimes.
struct Registration: Equatable {
  /// One runtime that is escra-runc.
  struct Runtime: Equatable {
    var name: String
    var path: String
    /// The patterns of annotations that reach it; nil where an engine has none.
    var annotations: [[String]]?
    /// Whether systemd makes its cgroups; nil where that is not the runtime's to say.
    var isSystemd: Bool?

    /// Whether its name says the policy, so that no annotation has to.
    var hasPolicy: Bool { RuntimeNames.policies.contains { path.hasSuffix(".\($0)") } }
  }

  var runtimes: [Runtime] = []
  /// Whether systemd makes the cgroups of runc's containers.
  var isRuncSystemd: Bool?
  /// CRI-O's `allowed_annotations` that are ours, with which it does not start.
  var refused: [String] = []

  private static func isOurs(_ path: String) -> Bool {
    path.split(separator: "/").last?.hasPrefix("escra-runc") == true
  }

  /// Reads daemon.json.
  init(docker text: String) throws(JSONSyntaxError) {
    try JSONValue(parsing: Array(text.utf8)).forEachMember { key, value in
      guard key == "runtimes" else { return }
      value.forEachMember { name, runtime in
        runtime.forEachMember { key, value in
          if key == "path", let path = value.string, Self.isOurs(path) {
            runtimes.append(Runtime(name: name, path: path))
          }
        }
      }
    }
  }

  /// Reads the files of the other engines; what stands in a later one counts.
  init(_ engine: Engine, _ files: [TOMLText]) {
    let table: [String]
    switch engine {
    case .docker: return
    case .podman: table = ["engine", "runtimes"]
    case .crio: table = ["crio", "runtime", "runtimes"]
    case .containerd:
      for version in [2, 3] {
        readContainerd(
          ContainerdSetup.plugin(version: version) + ["containerd", "runtimes"], files)
      }
      return
    }
    for file in files {
      let names =
        engine == .crio
        ? file.tables(in: table)
        : file.below(table).filter { $0.path.count == 1 }.map { $0.path[0] }
      for name in names {
        let key = engine == .crio ? [name, "runtime_path"] : [name]
        let path = file.strings(table + key).first ?? ""
        runtimes.removeAll { $0.name == name }
        if Self.isOurs(path) { runtimes.append(Runtime(name: name, path: path)) }
        if engine == .crio {
          refused += file.strings(table + [name, "allowed_annotations"])
            .filter { $0.hasPrefix("io.escra") }
        }
      }
    }
  }

  private mutating func readContainerd(_ table: [String], _ files: [TOMLText]) {
    for file in files {
      for name in file.tables(in: table) {
        let options = table + [name, "options"]
        let isSystemd = file[options + ["SystemdCgroup"]] == "true"
        if name == "runc" { isRuncSystemd = isSystemd }
        let path = file.strings(options + ["BinaryName"]).first ?? ""
        guard Self.isOurs(path) else { continue }
        runtimes.removeAll { $0.name == name }
        runtimes.append(
          Runtime(
            name: name, path: path,
            annotations: ["pod_annotations", "container_annotations"].map {
              file.strings(table + [name, $0])
            }, isSystemd: isSystemd))
      }
    }
  }

  /// What is wrong with it.
  ///
  /// - Parameters:
  ///   - engine: Whose it is.
  ///   - failure: Why a program cannot be executed; nil where it can.
  /// - Returns: Problems alone.
  func faults(_ engine: Engine, failure: (String) -> String?) -> [Check] {
    let name = engine.title
    let remedy = "run escra setup \(engine.rawValue)"
    var checks: [Check] = []
    for runtime in runtimes {
      if let failure = failure(runtime.path) {
        checks.append(
          .problem(
            name,
            "the runtime \(runtime.name) is \(runtime.path), which cannot be executed (\(failure)), so "
              + "its containers do not start; install escra-runc there, or \(remedy)"))
      }
      if let lists = runtime.annotations, !runtime.hasPolicy {
        let missing = Set(
          lists.flatMap { list in RuntimeNames.annotations.filter { !list.contains($0) } })
        if !missing.isEmpty {
          checks.append(
            .problem(
              name,
              "the runtime \(runtime.name) gets no annotations by the patterns "
                + missing.sorted().joined(separator: ", ")
                + ", so policies of pods are ignored; \(remedy)"))
        }
      }
      if let own = runtime.isSystemd, let runc = isRuncSystemd, own != runc {
        checks.append(
          .problem(
            name,
            "the runtime \(runtime.name) has SystemdCgroup = \(own) and runc has \(runc), so its "
              + "containers are in other cgroups than their pods; \(remedy)"))
      }
    }
    if !refused.isEmpty {
      checks.append(
        .problem(
          name,
          "allowed_annotations has \(refused[0]), which CRI-O does not know, so it does not start; "
            + "take it out: CRI-O passes such annotations anyway"))
    }
    return checks
  }
}

/// Looks at the engines of the machine.
struct EngineChecks {
  var checks: [Check] {
    let installed = Engine.allCases.filter { Program.find($0.program) != nil }
    var checks: [Check] = []
    var isRegistered = false
    for engine in installed {
      let (found, count) = Self.checks(of: engine)
      isRegistered = isRegistered || count > 0
      checks += found
    }
    if !installed.isEmpty, !isRegistered {
      let names = installed.map { "escra setup \($0.rawValue)" }
      checks.append(
        .warning(
          "engines",
          "no engine calls escra-runc; " + names.joined(separator: " or ") + " changes that"))
    }
    return checks
  }

  /// - Returns: The checks, and how many of its runtimes are escra-runc.
  private static func checks(of engine: Engine) -> ([Check], count: Int) {
    let files = EngineFiles(engine: engine, config: engine.config)
    let registration: Registration
    do throws(Complaint) { registration = try files.registered() } catch {
      return (
        [
          .problem(
            engine.title, "its config cannot be read: \(error.description); it would not start anew"
          )
        ], 0
      )
    }
    let names = registration.runtimes.map(\.name)
    guard !names.isEmpty else { return ([.ok(engine.title, "does not call escra-runc")], 0) }
    var checks = registration.faults(engine, failure: RuntimeChecks.failure)
    let check = EngineCheck(engine: engine, config: engine.config)
    if engine == .docker, check.daemon != nil, let known = check.known,
      let missing = names.first(where: { !known.contains($0) })
    {
      checks.append(
        .warning(
          engine.title,
          "it runs and does not know the runtime \(missing) yet; run \(check.reload(isUndone: false))"
        ))
    }
    if engine == .containerd || engine == .crio, let daemon = check.daemon,
      check.isKnown(changed: []) == false
    {
      checks.append(
        .warning(
          engine.title,
          "process \(daemon.pid) was started before its config was changed; run "
            + check.reload(isUndone: false)))
    }
    if engine == .docker, let version = dockerVersion, version < 24 {
      let hasPolicies = registration.runtimes.contains(where: \.hasPolicy)
      let sentence =
        "Docker \(version) passes no annotations, so a container's policy is that of its runtime's name"
      checks.append(
        hasPolicies
          ? .ok(engine.title, sentence + ": --runtime escra-reactive")
          : .warning(engine.title, sentence + "; run escra setup docker for such names"))
    }
    if !checks.contains(where: { $0.level != .ok }) {
      checks.append(.ok(engine.title, "calls escra-runc as " + names.joined(separator: ", ")))
    }
    return (checks, names.count)
  }

  /// The first number of Docker's version.
  private static var dockerVersion: Int? {
    guard let program = Program.find("dockerd") else { return nil }
    let said = Program.run(program, ["--version"]).output
    return said.split { !$0.isNumber }.first.flatMap { Int($0) }
  }
}

extension EngineFiles {
  /// What the engine's files say of our runtimes.
  func registered() throws(Complaint) -> Registration {
    guard engine == .docker else { return Registration(engine, try texts()) }
    let text = try FileChange.read(config) ?? "{}"
    do throws(JSONSyntaxError) { return try Registration(docker: text) } catch {
      throw Complaint("\(config), \(error.description)")
    }
  }
}
