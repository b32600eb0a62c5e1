// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Quantities
internal import State

/// The processes that have written a limit since the supervisor looked at it last.
struct ExternalWriters {
  /// What kinds of writers; none if no process has written, or none that was named.
  private(set) var kinds: ExternalWrites.Writers = .unknown
  /// The last of them, for people.
  private(set) var last: RecordEntry.Writer?
  /// The process whose name was asked for, and until when an answer is waited for.
  private(set) var asked: (process: Int32, until: Nanoseconds)?

  /// How long the keeper may take to say what a process is called.
  private static let patience: Nanoseconds = 10_000_000

  /// Adds one whose name is not known yet.
  ///
  /// - Parameters:
  ///   - process: Its pid; 0 if it is in another pid namespace.
  ///   - now: The time.
  /// - Returns: Whether its name is to be asked for.
  mutating func add(_ process: Int32, at now: Nanoseconds) -> Bool {
    guard process > 1, asked?.process != process else {
      if process == 1 { add(process, name: "systemd") }
      return false
    }
    asked = (process, now + Self.patience)
    last = .process(process)
    return true
  }

  /// Takes note of the name that was asked for; an answer that comes too late is none.
  mutating func answer(_ process: Int32, _ name: String) {
    guard asked?.process == process else { return }
    asked?.until = 0
    if !name.isEmpty { add(process, name: name) }
  }

  /// Adds one.
  ///
  /// - Parameters:
  ///   - process: Its pid; 0 if it is in another pid namespace.
  ///   - name: What it is called; nil for one that is gone.
  mutating func add(_ process: Int32, name: String?) {
    if process == 1 {
      kinds.insert(.serviceManager)
    } else if let name {
      let isRuntime = Self.runtimes.contains { name.utf8.starts(with: $0.utf8) }
      kinds.insert(isRuntime ? .runtime : .other)
    }
    last = name.map { .named($0) } ?? (process > 0 ? .process(process) : last)
  }

  /// How the low-level runtimes are called, and how what they call their own helpers begins.
  private static let runtimes = ["runc", "crun", "youki", "runsc"]
}
