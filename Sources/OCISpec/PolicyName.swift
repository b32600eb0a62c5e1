// SPDX-License-Identifier: Apache-2.0

/// How a container's limits live.
package enum PolicyName: String, CaseIterable, Sendable {
  /// What runc does: limits stay as declared.
  case standard
  /// The CPUs a container reserved are its own, by cpuset, and no other container's.
  case strict
  /// CPU and memory limits follow demand.
  case reactive
  /// The reactive policy computes and records what it would do, and changes nothing.
  case observe

  /// "standard, strict, reactive or observe".
  static var accepted: String { listed(allCases.map(\.rawValue)) }

  /// Reads the name of a policy.
  ///
  /// - Parameters:
  ///   - text: What was written.
  ///   - source: Where it was written, for the error: an annotation's key or `--escra-policy`.
  /// - Throws: ``PolicyError/badValue(key:value:why:)``.
  package init(_ text: String, from source: String) throws(PolicyError) {
    guard let name = PolicyName(rawValue: text) else {
      throw .badValue(key: source, value: text, why: "is no policy; write \(Self.accepted)")
    }
    self = name
  }

  /// The default policy that the name of the program selects; nil for a plain name.
  ///
  /// A symlink `escra-runc.reactive` is for callers that can pass neither annotations nor options.
  ///
  /// - Parameter programName: argv[0], with or without directories.
  /// - Throws: ``PolicyError/unknownProgramName(_:)``.
  package init?(programName: String) throws(PolicyError) {
    let prefix = "escra-runc."
    guard let last = programName.utf8.split(separator: UInt8(ascii: "/")).last else { return nil }
    let name = String(Substring(last))
    guard name.hasPrefix(prefix) else { return nil }
    guard let policy = PolicyName(rawValue: String(name.dropFirst(prefix.count))) else {
      throw .unknownProgramName(name)
    }
    self = policy
  }
}
