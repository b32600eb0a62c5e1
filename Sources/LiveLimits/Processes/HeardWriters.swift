// SPDX-License-Identifier: Apache-2.0

/// Who has written a limit since somebody looked at it last.
struct HeardWriters {
  /// What kinds of writers; none of them for nobody, or nobody who was told.
  private(set) var kinds: ForeignWrites.Writers = .unknown
  /// Who was the last, for people.
  private(set) var last: RecordEntry.Writer?

  /// Adds one.
  ///
  /// - Parameters:
  ///   - process: Its pid; 0 for one that cannot be seen from here.
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
