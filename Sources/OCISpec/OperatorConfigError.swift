// SPDX-License-Identifier: Apache-2.0
package import Syscalls

/// What is wrong with the operator's config: one sentence that names the file, the key, the value
/// and what is accepted.
package struct OperatorConfigError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong.
  package enum Problem: Error, Equatable, Sendable {
    /// The file cannot be read.
    case unreadable(SystemError)
    /// It is a device, a FIFO or a socket.
    case notAFile
    /// It is no JSON.
    case syntax(JSONSyntaxError)
    /// A key that is none of the config's, and those that are, both with their path.
    case unknownKey(String, known: [String])
    /// A value of the wrong type or out of range; `shown` is printed as it is, `why` ends the
    /// sentence.
    case badValue(path: String, shown: String, why: String)
  }

  /// The file.
  package let file: String
  /// What is wrong with it.
  package let problem: Problem
  /// The low-level runtimes it names all the same: calls that ask nothing of us go on to them.
  package let runtimes: [String]
  /// The state root that it names all the same; nil for the default.
  package let stateRoot: String?

  /// Makes an error from its parts.
  package init(file: String, problem: Problem, runtimes: [String] = [], stateRoot: String? = nil) {
    self.file = file
    self.problem = problem
    self.runtimes = runtimes
    self.stateRoot = stateRoot
  }

  /// The sentence.
  package var description: String {
    switch problem {
    case .unreadable(let error):
      "\(error); make it a readable file of at most \(OperatorConfig.largestFile) bytes"
    case .notAFile:
      "\(file) is not a regular file; make it a readable file of at most "
        + "\(OperatorConfig.largestFile) bytes"
    case .syntax(let error): "\(file): \(error.description)"
    case .unknownKey(let key, let known):
      "\(file): unknown key \(escaped(key)); "
        + (nearestName(to: key, among: known).map { "the nearest known one is \($0)" }
          ?? "known are \(listed(known, "and"))")
    case .badValue(let path, let shown, let why): "\(file): \(path) \(shown) \(why)"
    }
  }
}
