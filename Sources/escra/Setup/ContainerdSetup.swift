// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// containerd's config.toml and the files that it imports.
struct ContainerdSetup {
  static let path = "/etc/containerd/config.toml"

  /// A file of the config as it is without our block.
  struct File {
    let path: String
    /// nil for a file that does not exist.
    let text: String?
    let toml: TOMLText
  }

  /// The files in the order in which containerd reads them, config.toml first.
  let files: [File]
  /// What `containerd config dump` says, or would say without any file of ours.
  let dump: TOMLText?
  /// A directory that config.toml imports whole, if containerd merges what is in it (2.0 and later).
  let importedDirectory: String?

  /// The version that the config is written in.
  ///
  /// - Throws: ``Complaint`` for version 1, which has other names for plugins.
  func version() throws(Complaint) -> Int {
    guard let main = files.first, let text = main.text, text.utf8.contains(where: { $0 > 32 })
    else { return dump?[["version"]].flatMap { Int($0) } ?? 2 }
    let version = main.toml[["version"]].flatMap { Int($0) } ?? 1
    guard version >= 2 else {
      throw Complaint(
        "\(main.path) is of version 1, which containerd 2 does not read any more; write it anew by: "
          + "containerd config migrate")
    }
    return version
  }

  /// The table of the CRI plugin.
  static func plugin(version: Int) -> [String] {
    ["plugins", version == 2 ? "io.containerd.grpc.v1.cri" : "io.containerd.cri.v1.runtime"]
  }

  /// The file that our handlers go into, and its text with them.
  ///
  /// containerd 1 takes the table of a plugin from the last file that has one, as a whole; that is the
  /// file for the handlers.
  func registered(_ names: RuntimeNames) throws(Complaint) -> (path: String, text: String) {
    if let file = files.first(where: { file in
      file.toml.strings(["disabled_plugins"]).contains {
        ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"].contains($0)
      }
    }) {
      // Docker's packages come with such a file.
      throw Complaint(
        "\(file.path) has the CRI plugin in disabled_plugins, so no kubelet can use this containerd; "
          + "take it out first, or run escra setup docker if this containerd is Docker's")
    }
    let version = try version()
    let plugin = Self.plugin(version: version)
    let runtimes = plugin + ["containerd", "runtimes"]
    for file in files {
      for name in names.all where file.toml.has(runtimes + [name.name]) {
        let line = file.toml.line(of: runtimes + [name.name]).map { ", line \($0)," } ?? ""
        throw Complaint(
          "\(file.path)\(line) has a runtime \"\(name.name)\" that escra setup has not written; "
            + "remove it first")
      }
      if let inline = file.toml.inlineTables.first(where: { runtimes.starts(with: $0) }) {
        throw Complaint(
          "\(file.path) has \(inline.joined(separator: ".")) as an inline table, to which nothing can "
            + "be added; write it as a table with a header first")
      }
    }
    let isNew = files[0].text?.utf8.contains { $0 > 32 } != true
    let head = isNew ? ["version = \(version)"] : []
    if version > 2, let importedDirectory {
      let lines = ["version = \(version)"] + handlers(names, runtimes, in: files.map(\.toml))
      return (importedDirectory + "/99-escra.toml", DropIn.text(lines, engine: "containerd"))
    }
    let file = files.last { $0.toml.has(plugin) } ?? files[0]
    let visible = version == 2 ? [file.toml] : files.map(\.toml)
    return (
      file.path,
      MarkedBlock.append(
        head + handlers(names, runtimes, in: visible), to: file.text, engine: "containerd")
    )
  }

  /// A file's text without our block.
  ///
  /// - Returns: nil for a file that was not there before.
  static func unregistered(_ text: String, path: String) throws(Complaint) -> String? {
    guard let block = MarkedBlock.contents(text) else { return text }
    guard let bare = MarkedBlock.strip(text) else { return nil }
    let (ours, rest) = (try TOMLText(block, path: path), try TOMLText(bare, path: path))
    // What was added since keeps what it needs: the version, and runc's table.
    var left: [String] = []
    if let version = ours[["version"]], !rest.entries.isEmpty || !rest.headers.isEmpty {
      left.append("version = \(version)")
    }
    for version in [2, 3] {
      let runtimes = plugin(version: version) + ["containerd", "runtimes"]
      let runc = runtimes + ["runc"]
      if ours.has(runc), rest.has(runtimes), !rest.has(runc) {
        left += table(runc, ours.below(runc))
      }
    }
    return MarkedBlock.strip(text, leaving: left)
  }

  /// The tables of our handlers, with what runc's table has.
  ///
  /// A table of runtimes replaces the built-in one, runc's included (1.x): where runc has none, it gets
  /// one.
  private func handlers(
    _ names: RuntimeNames, _ runtimes: [String], in files: [TOMLText]
  ) -> [String] {
    let runc = runtimes + ["runc"]
    var lines: [String] = []
    let isThere = files.contains { $0.has(runc) }
    let keys = isThere ? files.last { $0.has(runc) }?.below(runc) ?? [] : builtIn(runc)
    if !isThere { lines += Self.table(runc, keys) }
    for name in names.all {
      var own = keys.filter {
        !["runtime_path"].contains($0.path[0]) && $0.path.last != "BinaryName"
      }
      let type = own.first { $0.path == ["runtime_type"] }?.value ?? ""
      if !type.contains("io.containerd.runc.") {
        own.removeAll { $0.path == ["runtime_type"] }
        own.insert(.init(path: ["runtime_type"], value: "\"io.containerd.runc.v2\""), at: 0)
      }
      for key in ["pod_annotations", "container_annotations"] {
        let found = own.first { $0.path == [key] }.map { TOMLScanner.strings(in: $0.value) } ?? []
        own.removeAll { $0.path == [key] }
        let new = RuntimeNames.annotations.filter { !found.contains($0) }
        own.append(.init(path: [key], value: TOMLText.array(found + new)))
      }
      own.append(.init(path: ["options", "BinaryName"], value: TOMLText.quoted(name.path)))
      lines += Self.table(runtimes + [name.name], own)
    }
    return lines
  }

  /// What is built in of runc's table and is no default of its type.
  private func builtIn(_ runc: [String]) -> [TOMLText.Entry] {
    let found = (dump?.below(runc) ?? []).filter {
      !["\"\"", "''", "[]", "0", "false"].contains($0.value)
    }
    return found.isEmpty
      ? [.init(path: ["runtime_type"], value: "\"io.containerd.runc.v2\"")] : found
  }

  /// A table and those below it, each with a header.
  private static func table(_ path: [String], _ keys: [TOMLText.Entry]) -> [String] {
    var lines = DropIn.table(
      path, keys.filter { $0.path.count == 1 }.map { ($0.path[0], $0.value) })
    var below: [[String]] = []
    for key in keys where key.path.count > 1 {
      let table = Array(key.path.dropLast())
      if !below.contains(table) { below.append(table) }
    }
    for table in below {
      lines += DropIn.table(
        path + table,
        keys.filter { Array($0.path.dropLast()) == table }.map { ($0.path[table.count], $0.value) })
    }
    return lines
  }
}
