// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// What the agent was called with.
enum Options: Equatable {
  /// Run with the config in this file.
  case run(config: String?, state: String?)
  /// Say whether it would work, for `escra doctor`.
  case check(config: String?)
  case help
  case version

  static let usage = """
    usage: escra-agent [--escra-config FILE] [--state DIRECTORY]

    Shares applications with other nodes, if their containers ask for io.escra.app.scope=cluster.
    The engine and the node's name are in "cluster" of the config. SIGTERM ends the agent; containers
    go on with what they declare.

      --escra-config FILE   another config than \(OperatorConfig.defaultPath)
      --state DIRECTORY     another state than the config's stateRoot, or /run/escra
      --check               say whether it would work, and end
      --version             print the version
      --help                print this text

    """

  /// Reads arguments.
  ///
  /// - Throws: ``Complaint``.
  init(_ arguments: [String]) throws(Complaint) {
    var config: String?
    var state: String?
    var isCheck = false
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      func value() throws(Complaint) -> String {
        if parts.count == 2 { return String(parts[1]) }
        guard let next = rest.popFirst() else {
          throw Complaint("\(parts[0]) needs a value; see escra-agent --help")
        }
        return next
      }
      switch parts[0] {
      case "--escra-config": config = try value()
      case "--state": state = try value()
      case "--check": isCheck = true
      case "--help", "-h":
        self = .help
        return
      case "--version", "-v":
        self = .version
        return
      default:
        throw Complaint("unknown argument \(quoted(argument)); see escra-agent --help")
      }
    }
    self = isCheck ? .check(config: config) : .run(config: config, state: state)
  }
}

/// Why the agent cannot run: one sentence.
struct Complaint: Error, Equatable {
  let sentence: String
  init(_ sentence: String) { self.sentence = sentence }
}
