// SPDX-License-Identifier: Apache-2.0
internal import CSQLite
internal import Control
internal import State

/// Runs as a table of an SQLite database.
final class RunDatabase {
  private var database: OpaquePointer?
  private let path: String

  /// Opens a file, and makes it where there is none.
  ///
  /// - Throws: ``Complaint`` where that cannot be done, or it is another kind of file.
  init(path: String) throws(Complaint) {
    self.path = path
    try check(sqlite3_open(path, &database))
  }

  deinit { sqlite3_close(database) }

  /// Replaces the table `runs`: as a whole, or not at all.
  ///
  /// - Throws: ``Complaint``: the disk is full.
  func write(_ profiles: [StoredProfile]) throws(Complaint) {
    try execute("BEGIN IMMEDIATE")
    try execute("DROP TABLE IF EXISTS runs")
    var names: [String] = []
    for profile in profiles {
      for run in profile.runs {
        let figures = profile.names + run.total.figures
        if names.isEmpty {
          names = figures.map { "\"\($0.name)\"" }
          try execute("CREATE TABLE runs (\(names.joined(separator: ", ")))")
        }
        try insert(figures.map(\.value))
      }
    }
    try execute("COMMIT")
  }

  private func insert(_ values: [JSON]) throws(Complaint) {
    var statement: OpaquePointer?
    defer { sqlite3_finalize(statement) }
    let marks = values.map { _ in "?" }.joined(separator: ", ")
    try check(
      sqlite3_prepare_v2(database, "INSERT INTO runs VALUES (\(marks))", -1, &statement, nil))
    for (index, value) in values.enumerated() {
      try check(bind(value, to: statement, Int32(index + 1)))
    }
    try check(sqlite3_step(statement))
  }

  private func bind(_ value: JSON, to statement: OpaquePointer?, _ place: Int32) -> Int32 {
    switch value {
    case .bool(let value): sqlite3_bind_int64(statement, place, value ? 1 : 0)
    case .integer(let value): sqlite3_bind_int64(statement, place, value)
    case .number(let value): sqlite3_bind_double(statement, place, value)
    case .string(let text):
      // SQLITE_TRANSIENT, a cast that Swift does not import: the text is copied.
      sqlite3_bind_text(
        statement, place, text, -1, unsafeBitCast(-1, to: sqlite3_destructor_type.self))
    case .null, .array, .object: sqlite3_bind_null(statement, place)
    }
  }

  private func execute(_ text: String) throws(Complaint) {
    try check(sqlite3_exec(database, text, nil, nil, nil))
  }

  private func check(_ code: Int32) throws(Complaint) {
    if code == SQLITE_OK || code == SQLITE_DONE { return }
    let reason = String(cString: sqlite3_errmsg(database))
    throw Complaint("cannot write the database \(path): \(reason); name a file that can be made")
  }
}
