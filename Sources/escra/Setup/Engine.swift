// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc

/// An engine that calls runtimes.
enum Engine: String, CaseIterable, ExpressibleByArgument {
  case docker, containerd, podman, crio

  /// The name in sentences.
  var title: String {
    switch self {
    case .docker: "Docker"
    case .containerd: "containerd"
    case .podman: "Podman"
    case .crio: "CRI-O"
    }
  }

  /// Its program: the daemon, or Podman itself.
  var program: String { self == .docker ? "dockerd" : rawValue }

  /// The config that it reads first, unless a flag names another.
  var config: String {
    switch self {
    case .docker: DockerSetup.path
    case .containerd: ContainerdSetup.path
    case .podman: PodmanSetup.path
    case .crio: CRIOSetup.path
    }
  }

  /// The drop-in of an engine that has a directory for them beside its config.
  func dropIn(_ config: String) -> String {
    config + ".d/" + (self == .crio ? "10-" : "") + "escra.conf"
  }
}

/// The files of an engine's config, and what they become.
struct EngineFiles {
  let engine: Engine
  /// The config that the engine reads first.
  let config: String

  /// What registers our runtimes; only files that change.
  func registration(_ names: RuntimeNames) throws(Complaint) -> [FileChange] {
    switch engine {
    case .docker:
      let text = try FileChange.read(config)
      let new = try DockerSetup.registered(text, path: config, names)
      return [FileChange(path: config, before: text, after: new)].changing
    case .podman, .crio:
      let path = engine.dropIn(config)
      let before = try FileChange.read(path)
      if let before, MarkedBlock.strip(before) != nil {
        throw Complaint("\(path) is not a file of escra setup; move it away first")
      }
      let others = try beside(path)
      let lines =
        engine == .podman
        ? PodmanSetup.lines(names, beside: others) : CRIOSetup.lines(names, beside: others)
      let text = DropIn.text(lines, engine: engine.rawValue)
      return [FileChange(path: path, before: before, after: text)].changing
    case .containerd:
      let (setup, found) = try containerd()
      let (path, text) = try setup.registered(names)
      var changes = found
      if let index = changes.firstIndex(where: { $0.path == path }) {
        changes[index] = FileChange(path: path, before: changes[index].before, after: text)
      } else {
        changes.append(FileChange(path: path, before: nil, after: text))
      }
      return changes.changing
    }
  }

  /// What takes our runtimes out again; only files that change.
  func removal() throws(Complaint) -> [FileChange] {
    switch engine {
    case .docker:
      let text = try FileChange.read(config)
      let new = try DockerSetup.unregistered(text, path: config)
      return [FileChange(path: config, before: text, after: new)].changing
    case .podman, .crio:
      let path = engine.dropIn(config)
      let text = try FileChange.read(path)
      return [FileChange(path: path, before: text, after: text.flatMap { MarkedBlock.strip($0) })]
        .changing
    case .containerd: return try containerd().changes.changing
    }
  }

  /// The files that the engine reads and that are there.
  func paths() -> [String] {
    guard engine == .containerd else {
      return [config] + Self.glob(config + ".d/*.conf")
    }
    // What cannot be read or parsed stops the setup elsewhere, with the reason.
    return (try? containerd(stripped: false).changes.map(\.path)) ?? [config]
  }

  /// All files of an engine whose config is TOML, in the order in which it reads them.
  func texts() throws(Complaint) -> [TOMLText] {
    if engine != .containerd { return try beside("") }
    return try containerd(stripped: false).0.files.map(\.toml)
  }

  /// The other files that the engine reads, in that order.
  private func beside(_ dropIn: String) throws(Complaint) -> [TOMLText] {
    var paths = engine == .podman ? ["/usr/share/containers/containers.conf"] : []
    paths += [config] + Self.glob(config + ".d/*.conf").filter { $0 != dropIn }
    var texts: [TOMLText] = []
    for path in paths {
      if let text = try FileChange.read(path) { texts.append(try TOMLText(text, path: path)) }
    }
    return texts
  }

  /// containerd's files, and what they become without our block.
  private func containerd(
    stripped: Bool = true
  ) throws(Complaint) -> (ContainerdSetup, changes: [FileChange]) {
    var paths = [config]
    var files: [ContainerdSetup.File] = []
    var changes: [FileChange] = []
    var directory: String?
    while files.count < paths.count {
      let path = paths[files.count]
      let text = try FileChange.read(path)
      var bare = text
      if stripped, let text { bare = try ContainerdSetup.unregistered(text, path: path) }
      changes.append(FileChange(path: path, before: text, after: bare))
      let toml = try TOMLText(bare ?? "", path: path)
      files.append(ContainerdSetup.File(path: path, text: bare, toml: toml))
      // containerd follows imports of imports, too.
      for pattern in toml.strings(["imports"]) {
        let base =
          pattern.hasPrefix("/")
          ? ""
          : path.split(separator: "/").dropLast().map { "/\($0)" }
            .joined() + "/"
        if path == config, pattern.hasSuffix("/*.toml") {
          directory = directory ?? base + pattern.dropLast("/*.toml".utf8.count)
        }
        paths += Self.glob(base + pattern).filter { !paths.contains($0) }
      }
    }
    let setup = ContainerdSetup(
      files: files, dump: Self.dump(config),
      importedDirectory: directory)
    return (setup, changes)
  }

  /// What `containerd config dump` says; nil where containerd is not installed, or refuses the config.
  static func dump(_ config: String) -> TOMLText? {
    guard let program = Program.find("containerd") else { return nil }
    let isThere = access(config, F_OK) == 0
    let result = Program.run(
      program, isThere ? ["--config", config, "config", "dump"] : ["config", "default"])
    // A dump that is not TOML is as good as none.
    return result.code == 0 ? try? TOMLText(result.output, path: "config dump") : nil
  }

  /// The paths that a pattern stands for, sorted.
  static func glob(_ pattern: String) -> [String] {
    var found = glob_t()
    defer { globfree(&found) }
    guard Glibc.glob(pattern, 0, nil, &found) == 0 else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { found.gl_pathv[$0].map { String(cString: $0) } }
  }
}

extension [FileChange] {
  /// Those that change something.
  fileprivate var changing: [FileChange] { filter { $0.before != $0.after } }
}
