// SPDX-License-Identifier: Apache-2.0
package import Syscalls

/// Why a config.json, or the request of an update, cannot be read or edited.
package enum ConfigError: Error, Equatable, CustomStringConvertible, Sendable {
  /// A system call failed; its subject is the file.
  case system(SystemError)
  /// The path is a directory, a device or a pipe.
  case notAFile(path: String)
  /// The bytes are no JSON.
  case notJSON(document: String, JSONError)
  /// A member that this project reads has a value that runc would not take either.
  case wrongType(document: String, member: String, value: String, expected: String)
  /// The value of one of our annotations is not Unicode, or holds a NUL.
  case undecodable(document: String, annotation: String)
  /// The bundle stayed locked by another process's edit.
  case busy(path: String)
  /// The copy of an original is there, but not the record that says what to do with it.
  case unknownEdit(path: String, config: String)
  /// The file is a symbolic link that the file system cannot keep a second name of.
  case symbolicLink(path: String)

  /// One sentence: what, which value, what to do.
  package var description: String {
    switch self {
    case .system(let error): error.description
    case .notAFile(let path): "\(path) is not a regular file; name a bundle with a config.json"
    case .notJSON(let document, let error): "\(document) \(error)"
    case .wrongType(let document, "", let value, let expected):
      "\(document) is \(value); it must be \(expected)"
    case .wrongType(let document, let member, let value, let expected):
      "\(member) in \(document) is \(value); it must be \(expected)"
    case .undecodable(let document, let annotation):
      "the annotation \(annotation) in \(document) is not valid Unicode text; write its value "
        + "in UTF-8 and without NUL"
    case .busy(let path):
      "the bundle \(path) is being edited by another escra-runc; try again when that container "
        + "has started"
    case .unknownEdit(let path, let config):
      "\(path)/\(BundleNames(of: config).original) is left from an edit whose record cannot be "
        + "read; keep the right one of it and \(config), and remove "
        + BundleNames(of: config).record
    case .symbolicLink(let path):
      "\(path) is a symbolic link and cannot be edited in place; put the file itself there"
    }
  }
}
