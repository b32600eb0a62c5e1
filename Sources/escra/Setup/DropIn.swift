// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// A file of ours in a directory from which an engine reads all files.
enum DropIn {
  /// The text of a drop-in.
  static func text(_ lines: [String], engine: String) -> String {
    MarkedBlock.append(lines, to: nil, engine: engine)
  }

  /// The lines of a table, with a comment-free header.
  static func table(_ path: [String], _ keys: [(String, String)]) -> [String] {
    [TOMLText.header(path)] + keys.map { "  \(TOMLText.quotedKey($0.0)) = \($0.1)" }
  }
}

/// Podman's containers.conf.d.
enum PodmanSetup {
  static let path = "/etc/containers/containers.conf"
  /// The runtimes whose errors Podman reads as JSON, where no file says which.
  private static let known = ["crun", "runc", "kata", "runsc", "youki", "krun", "ocijail"]

  /// The drop-in's lines.
  ///
  /// - Parameters:
  ///   - names: The runtimes.
  ///   - others: The files that Podman reads beside it, in that order.
  /// - Returns: Two tables.
  static func lines(_ names: RuntimeNames, beside others: [TOMLText]) -> [String] {
    let key = ["engine", "runtime_supports_json"]
    // A list in a later file takes the place of the one before.
    let json = others.last { $0[key] != nil }?.strings(key) ?? known
    let new = RuntimeNames.words.filter { !json.contains($0) }
    return DropIn.table(["engine"], [("runtime_supports_json", TOMLText.array(json + new))])
      + DropIn.table(
        ["engine", "runtimes"], names.all.map { ($0.name, TOMLText.array([$0.path])) })
  }
}

/// CRI-O's crio.conf.d.
enum CRIOSetup {
  static let path = "/etc/crio/crio.conf"
  private static let runtimes = ["crio", "runtime", "runtimes"]

  /// The drop-in's lines: each of our runtimes has what runc's entry has, else crun's.
  ///
  /// CRI-O passes all annotations but its own and those of the low-level runtimes; it refuses to start
  /// with other names in `allowed_annotations` (pkg/config, validateAllowedAndGenerateDisallowed…).
  static func lines(_ names: RuntimeNames, beside others: [TOMLText]) -> [String] {
    var inherited: [(String, String)] = []
    for model in ["runc", "crun"] where inherited.isEmpty {
      for text in others {
        for entry in text.below(runtimes + [model]) where entry.path.count == 1 {
          inherited.removeAll { $0.0 == entry.path[0] }
          inherited.append((entry.path[0], entry.value))
        }
      }
    }
    inherited.removeAll { $0.0 == "runtime_path" }
    if !inherited.contains(where: { $0.0 == "runtime_type" }) {
      inherited.insert(("runtime_type", "\"oci\""), at: 0)
    }
    return names.all.flatMap { name in
      DropIn.table(
        runtimes + [name.name], [("runtime_path", TOMLText.quoted(name.path))] + inherited)
    }
  }
}
