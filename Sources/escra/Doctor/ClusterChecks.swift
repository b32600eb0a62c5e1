// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import OCISpec

/// Looks at what applications over several nodes need: the agent looks, which has the libraries.
struct ClusterChecks {
  /// The path of escra-runc, beside which the agent is.
  let program: String
  /// The operator's config that was named by hand.
  let named: String?

  /// Nothing where the operator's config names no engine.
  var checks: [Check] {
    let path = named ?? OperatorConfig.defaultPath
    // The check of the config says what is wrong with it.
    guard let config = try? OperatorConfig.load(path: path), config.cluster != nil else {
      return []
    }
    let agent =
      program.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/escra-agent"
    guard access(agent, X_OK) == 0 else {
      return [
        .problem(
          "escra-agent",
          "\(agent) cannot be executed, so no application spans nodes; install it beside escra")
      ]
    }
    let result = Program.run(agent, ["--check", "--escra-config", path])
    let found = Self.read(result.output)
    guard result.code != 0 || found.isEmpty else { return found }
    return found + [.problem("escra-agent", result.complaint)]
  }

  /// Reads what the agent says: a level, a name and a sentence in each line.
  static func read(_ text: String) -> [Check] {
    text.split(separator: "\n").compactMap { line in
      let parts = line.split(separator: "\t", maxSplits: 2)
      guard parts.count == 3, let level = Check.Level(rawValue: String(parts[0])) else {
        return nil
      }
      return Check(
        level: level, name: String(parts[1]), sentence: Table.printable(String(parts[2])))
    }
  }
}
