// SPDX-License-Identifier: Apache-2.0
internal import Cgroups

/// The runtime that does the work, runc or crun, found for each call anew.
enum LowLevelRuntime {
  /// What a path turned out to be.
  enum Candidate: Equatable {
    /// An executable regular file that is not this program.
    case usable
    /// Not usable, and why, in words that fit into parentheses.
    case unusable(String)
    /// Not there at all.
    case missing
  }

  /// What is looked for in $PATH, best first.
  static let names = ExpectedGroup.makers

  /// Finds the runtime: the operator's list, then the built-in one, then $PATH.
  ///
  /// - Parameters:
  ///   - configured: Absolute paths from the operator's configuration, in order.
  ///   - builtIn: Absolute paths to fall back to.
  ///   - searchPath: $PATH; its relative and empty parts are not searched.
  ///   - probe: What a path is.
  /// - Returns: The first usable path.
  /// - Throws: ``NoRuntime``, which says what was tried.
  static func find(
    configured: [String], builtIn: [String], searchPath: String?,
    probe: (String) -> Candidate
  ) throws(NoRuntime) -> String {
    var tried: [String] = []
    for path in configured + builtIn {
      guard path.utf8.first == UInt8(ascii: "/") else {
        tried.append("\(path) (not an absolute path)")
        continue
      }
      switch probe(path) {
      case .usable: return path
      case .missing: tried.append("\(path) (ENOENT)")
      case .unusable(let reason): tried.append("\(path) (\(reason))")
      }
    }
    let directories = (searchPath ?? "").utf8.split(separator: UInt8(ascii: ":"))
      .filter { $0.first == UInt8(ascii: "/") }
    for name in names {
      for directory in directories {
        let path = "\(Substring(directory))/\(name)"
        switch probe(path) {
        case .usable: return path
        // Most of $PATH has no runc: only what is there and was not taken is worth a word.
        case .missing: break
        case .unusable(let reason): tried.append("\(path) (\(reason))")
        }
      }
    }
    return try fail(tried)
  }

  private static func fail(_ tried: [String]) throws(NoRuntime) -> String {
    var unique: [String] = []
    for one in tried where !unique.contains(one) { unique.append(one) }
    throw NoRuntime(tried: unique)
  }
}

/// No runtime was found.
struct NoRuntime: Error, Equatable, CustomStringConvertible {
  /// Each path with the reason it was not taken.
  let tried: [String]

  var description: String {
    "found no low-level runtime; tried \(tried.joined(separator: ", ")), and runc and crun in "
      + "$PATH; install runc, or name yours under \"runtimes\" in the operator's configuration"
  }
}
