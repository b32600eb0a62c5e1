// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// Asks an engine's own programs about its config.
struct EngineCheck {
  let engine: Engine
  let config: String

  private var isUsual: Bool { config == engine.config }

  /// The runtimes of containerd's CRI plugin, with the programs of ours; nil if they are not known.
  private var handlers: [String: String]? {
    guard let dump = EngineFiles.dump(config) else { return nil }
    var found: [String: String] = [:]
    for version in [2, 3] {
      let path = ContainerdSetup.plugin(version: version) + ["containerd", "runtimes"]
      for name in dump.tables(in: path) {
        found[name] = dump.strings(path + [name, "options", "BinaryName"]).first ?? ""
      }
    }
    return found
  }

  /// Notes what is to be the same afterwards.
  ///
  /// - Returns: The names of containerd's runtimes.
  func runtimes() -> Set<String> { engine == .containerd ? Set((handlers ?? [:]).keys) : [] }

  /// Whether the engine accepts its config as it is.
  ///
  /// - Parameters:
  ///   - names: What has to be in it; nil for none of it.
  ///   - before: What ``runtimes()`` said before.
  /// - Returns: What the engine complains of; nil where it does not, or is not installed.
  func refusal(_ names: RuntimeNames?, before: Set<String>) -> String? {
    guard let program = Program.find(engine.program) else { return nil }
    switch engine {
    case .docker:
      // From Docker 23 on. Named as a flag, a file that is not there is an error.
      guard FileStatus.ifThere(config) != nil else { return nil }
      let result = Program.run(program, ["--validate", "--config-file", config])
      return result.code == 0 || result.errors.contains("unknown flag") ? nil : result.complaint
    case .podman:
      guard isUsual, names != nil else { return nil }
      let result = Program.run(program, ["--runtime", "escra", "info"])
      if result.code == 0 { return nil }
      // What fails with runc as well, because of its storage, say, is not about runtimes.
      let plain = Program.run(program, ["--runtime", "runc", "info"])
      return plain.complaint == result.complaint ? nil : result.complaint
    case .crio:
      let result = Program.run(
        program, ["--config", config, "--config-dir", config + ".d", "config"])
      return result.code == 0 ? nil : result.complaint
    case .containerd:
      guard let handlers else {
        return Program.run(program, ["--config", config, "config", "dump"]).complaint
      }
      if let names, let missing = names.all.first(where: { handlers[$0.name] != $0.path }) {
        return "a file that config.toml imports takes the place of the runtime \(missing.name)"
      }
      let lost = before.subtracting(RuntimeNames.words).subtracting(handlers.keys).sorted()
      return lost.isEmpty ? nil : "the runtime \(lost.joined(separator: ", ")) would be lost"
    }
  }

  /// The daemon, if it runs in our view of the machine with this config.
  var daemon: DaemonProcess? {
    if engine == .podman { return nil }
    let flags = engine == .docker ? ["--config-file"] : ["--config", "-c"]
    return DaemonProcess.all(engine.program).first {
      // dockerd's own containerd has a config that dockerd writes.
      ($0.value(of: flags) ?? engine.config) == config
    }
  }

  /// The runtimes that Docker's daemon knows; nil if it does not answer.
  var known: Set<String>? {
    guard let program = Program.find("docker") else { return nil }
    let result = Program.run(
      program, ["info", "--format", "{{range $name, $_ := .Runtimes}}{{println $name}}{{end}}"])
    return result.code == 0 ? Set(result.output.split(separator: "\n").map(String.init)) : nil
  }

  /// Whether the running engine knows our names; nil if it cannot be asked or does not run.
  func isKnown(changed: [FileChange]) -> Bool? {
    switch engine {
    case .docker:
      guard daemon != nil, let known else { return nil }
      return known.isSuperset(of: RuntimeNames.words)
    case .podman: return Program.find("podman") == nil ? nil : true
    case .containerd, .crio:
      // They read their files when they start.
      guard let daemon else { return nil }
      let paths = EngineFiles(engine: engine, config: config).paths()
      let newest = paths.compactMap { FileStatus.ifThere($0) }.map(\.modified).max() ?? 0
      return changed.isEmpty && daemon.started > newest
    }
  }

  /// What makes a running engine read its config, and what that does to containers.
  func reload(isUndone: Bool) -> String {
    switch engine {
    case .docker where !isUndone:
      "systemctl reload docker" + (daemon.map { ", or kill -HUP \($0.pid)" } ?? "")
        + ", which no container notices"
    case .docker: "systemctl restart docker, which ends containers unless live-restore is set"
    default: "systemctl restart \(engine.rawValue), which no container notices"
    }
  }
}
