// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The names under which engines know escra-runc, and the programs behind them.
struct RuntimeNames {
  /// One name.
  struct Name: Equatable {
    let name: String
    let path: String
  }

  /// "escra", whose containers' annotations say the policy, and one name for each policy.
  let all: [Name]

  /// The policies that a program's name can carry.
  static let policies = ["observe", "reactive", "strict"]
  /// What annotations an engine has to pass: in containerd's patterns a `*` does not cross a `/`.
  static let annotations = ["io.escra.*", "io.escra.*/*"]

  /// Names programs beside each other.
  ///
  /// - Parameter program: The path of escra-runc.
  init(program: String) {
    all =
      [Name(name: "escra", path: program)]
      + Self.policies.map { Name(name: "escra-\($0)", path: "\(program).\($0)") }
  }

  /// The names alone.
  static let words = ["escra"] + policies.map { "escra-\($0)" }

  /// - Throws: ``Complaint`` where a program is not there.
  func checkPrograms() throws(Complaint) {
    for name in all where access(name.path, X_OK) != 0 {
      throw Complaint(
        "\(name.path) cannot be executed; install escra-runc there, or say where it is with "
          + "--binary")
    }
  }
}
