// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container's history is kept under, and how much of it.
package struct ProfileTarget: Equatable, Sendable {
  /// The operator's directory.
  package var directory: String
  /// The profile's name and for whom it is, as its directory has it.
  package var name: String
  /// How many runs are kept at the least.
  package var runs: Int64
  /// For how long a record is kept, in seconds.
  package var keep: Int64
  /// Whether a trace of its use is kept, too.
  package var isTraced: Bool

  /// Makes a target.
  ///
  /// Equal names are different profiles for different users, roots of runtimes and namespaces, as
  /// those of applications are.
  ///
  /// - Parameters:
  ///   - profile: The name.
  ///   - user: Whose runtime it is.
  ///   - root: The runtime's `--root`, absolute.
  ///   - namespace: The Kubernetes namespace; nil outside of Kubernetes.
  ///   - directory: The operator's directory.
  ///   - runs: How many runs are kept.
  ///   - keep: For how long, in seconds.
  ///   - isTraced: Whether a trace is kept.
  package init(
    profile: String, user: UInt32, root: String, namespace: String?, directory: String, runs: Int64,
    keep: Int64, isTraced: Bool
  ) {
    var keyed = KeyValueText()
    keyed["name"] = profile
    keyed["user"] = "\(user)"
    keyed["root"] = root
    keyed["namespace"] = namespace
    name = keyed.text
    self.directory = directory
    self.runs = runs
    self.keep = keep
    self.isTraced = isTraced
  }

  /// The profile's directory.
  package var path: String { directory + "/" + SHA256.digits(of: name) }

  package init?(_ keyed: KeyValueText) {
    guard let directory = keyed["historyDirectory"], let name = keyed["profile"] else { return nil }
    self.directory = directory
    self.name = name
    runs = keyed[int: "historyRuns"] ?? 200
    keep = keyed[int: "historyKeep"] ?? 30 * 86_400
    isTraced = keyed[int: "historyTrace"] == 1
  }

  func write(to keyed: inout KeyValueText) {
    keyed["historyDirectory"] = directory
    keyed["profile"] = name
    keyed[int: "historyRuns"] = runs
    keyed[int: "historyKeep"] = keep
    keyed[int: "historyTrace"] = isTraced ? 1 : nil
  }
}
