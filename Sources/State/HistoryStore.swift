// SPDX-License-Identifier: Apache-2.0
internal import CLinux
package import Control
internal import Glibc
package import Syscalls

/// The histories of a node: a directory for each profile, for root alone.
///
///     SHA256/name       what the profile is called, and for whom
///     SHA256/1, 2, …    segments: records, appended
///     SHA256/trace-…    traces of single runs, appended
///
/// A supervisor appends through a file that was opened for it, and holds a shared flock(2) on it. A
/// segment is never replaced or cut; a process with privileges removes one that no supervisor holds.
package struct HistoryStore: Sendable {
  /// The directory.
  package let path: String

  static let nameFile = "name"
  static let sweptFile = ".swept"
  static let tracePrefix = "trace-"
  /// A supervisor that begins appends to a segment of fewer records than this.
  static let segmentRecords = 64
  /// The most of a segment, or of a trace, that is read, and that a supervisor may write, in bytes.
  package static let largestFile = 4 << 20
  /// How many traces of a profile are kept.
  static let traces = 8

  /// A store that may not exist yet.
  package init(path: String) { self.path = path }

  // MARK: writing

  /// Opens what a run is recorded in, before privileges are dropped.
  ///
  /// The first supervisor of a run leaves an empty record. A later one is told the profile by a state
  /// that code in the first one may have changed: without that record it gets nothing, and it removes
  /// and makes nothing.
  ///
  /// - Parameters:
  ///   - target: The profile.
  ///   - nonce: The instance of the container.
  ///   - isFirst: Whether it is the first supervisor of the run.
  /// - Returns: Files to append to; no trace where none is asked for.
  /// - Throws: ``SystemError``: ENOSPC, EROFS; then the run is not recorded.
  package static func open(
    _ target: ProfileTarget, nonce: UInt64, isFirst: Bool = true
  ) throws(SystemError) -> (segment: Int32, trace: Int32?) {
    let store = HistoryStore(path: target.directory)
    guard isFirst || StoredProfile(path: target.path)?.has(nonce) == true else {
      throw SystemError("find", "this run in \(target.path)", errno: ENOENT)
    }
    try make(directories: target.directory)
    // A directory that another process removes, having found it empty, is made again.
    for attempt in 0..<8 {
      do throws(SystemError) {
        try StateDirectory.make(target.path)
        let profile = try FileDescriptor.open(target.path, O_RDONLY | O_DIRECTORY)
        if try profile.status(of: nameFile) == nil {
          try profile.replace(nameFile, with: target.name, by: ".name.\(nonce)")
        }
        guard let segment = try openSegment(of: profile, target, isFirst: isFirst) else { continue }
        if isFirst { try begin(nonce, in: segment) }
        var trace: Int32?
        if target.isTraced {
          let name = tracePrefix + ApplicationDirectory.name(of: nonce)
          let file = try profile.open(name, O_WRONLY | O_APPEND | O_CREAT)
          _ = try file.lock(exclusive: false)
          trace = file.release()
        }
        if isFirst { store.sweepDaily(keep: target.keep) }
        return (segment, trace)
      } catch {
        guard attempt < 7, error.errno == ENOENT else { throw error }
      }
    }
    throw SystemError("open", target.path, errno: EBUSY)
  }

  private static func make(directories path: String) throws(SystemError) {
    var made = ""
    for part in path.split(separator: "/") {
      made += "/" + part
      if access(made, F_OK) != 0 { try StateDirectory.make(made) }
    }
  }

  /// Appends a record of nothing.
  private static func begin(_ nonce: UInt64, in segment: Int32) throws(SystemError) {
    let record = RunRecord(nonce: nonce, started: wallClockNow(), period: 100_000_000)
    let written = try retrying("write", "a record") {
      withUnsafeTemporaryAllocation(byteCount: RunRecord.size, alignment: 8) { buffer in
        record.encode(into: buffer)
        return Glibc.write(segment, buffer.baseAddress, buffer.count)
      }
    }
    guard written == RunRecord.size else {
      throw SystemError("write", "a record", errno: ENOSPC)
    }
  }

  /// - Returns: nil where the segment was removed meanwhile.
  private static func openSegment(
    of profile: borrowing FileDescriptor, _ target: ProfileTarget, isFirst: Bool
  ) throws(SystemError) -> Int32? {
    let newest = segments(in: try profile.entries()).last ?? 0
    var number = max(1, newest)
    let size = newest == 0 ? 0 : try profile.status(of: "\(newest)")?.size ?? 0
    if isFirst, size >= segmentRecords * RunRecord.size {
      number += 1
      retire(profile, target)
    }
    let file = try profile.open("\(number)", O_WRONLY | O_APPEND | O_CREAT)
    _ = try file.lock(exclusive: false)
    guard try profile.status(of: "\(number)")?.identity == file.status().identity else {
      return nil
    }
    return file.release()
  }

  // MARK: retiring

  /// Removes what is older than the profile is to keep, and segments behind enough runs.
  static func retire(_ profile: borrowing FileDescriptor, _ target: ProfileTarget) {
    retire(profile, keep: target.keep)
    var runs: Set<UInt64> = []
    for number in segments(in: profile.entriesIfReadable).reversed() {
      if runs.count >= target.runs { remove("\(number)", of: profile) }
      for record in records(of: "\(number)", in: profile).records { runs.insert(record.nonce) }
    }
  }

  private static func retire(_ profile: borrowing FileDescriptor, keep: Int64) {
    let oldest = wallClockNow() - min(keep, 1 << 33) * 1_000_000_000
    var traces: [(modified: Int64, name: String)] = []
    for name in profile.entriesIfReadable {
      let isTrace = name.utf8.starts(with: tracePrefix.utf8)
      guard isTrace || Int(name) != nil, let status = profile.statusIfThere(of: name) else {
        continue
      }
      if status.modified < oldest {
        remove(name, of: profile)
      } else if isTrace {
        traces.append((status.modified, name))
      }
    }
    traces.sort { $0.modified > $1.modified }
    for trace in traces.dropFirst(Self.traces) { remove(trace.name, of: profile) }
  }

  /// Removes a file unless a supervisor appends to it.
  private static func remove(_ name: String, of profile: borrowing FileDescriptor) {
    guard let file = profile.openIfPossible(name, O_RDONLY), file.lockIfFree() else { return }
    profile.removeIfPossible(name)
  }

  /// Once a day, removes what is too old of profiles that no container uses any more.
  private func sweepDaily(keep: Int64) {
    let swept = FileStatus.ifThere(path + "/" + Self.sweptFile)
    let now = wallClockNow()
    if let swept, now - swept.modified < 86_400_000_000_000, swept.modified <= now { return }
    guard let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      directory.openIfPossible(Self.sweptFile, O_WRONLY | O_CREAT | O_TRUNC)?.writeIfPossible("\n")
        == true
    else { return }
    for key in directory.subdirectoriesIfReadable {
      guard let profile = directory.openIfPossible(key, O_RDONLY | O_DIRECTORY) else { continue }
      Self.retire(profile, keep: keep)
      if profile.entriesIfReadable == [Self.nameFile] {
        profile.removeIfPossible(Self.nameFile)
        directory.removeIfPossible(key, directory: true)
      }
    }
  }

  // MARK: reading

  /// The numbers of the segments among names, the oldest first.
  static func segments(in names: [String]) -> [Int] {
    names.compactMap { Int($0) }.filter { $0 > 0 }.sorted()
  }

  static func records(
    of name: String, in profile: borrowing FileDescriptor
  ) -> (records: [RunRecord], isDamaged: Bool) {
    guard let file = profile.openIfPossible(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW),
      file.isRegularFile,
      let bytes = file.bytesIfReadable(limit: largestFile)
    else { return ([], true) }
    return RunRecord.all(in: bytes)
  }

  /// What the last runs of a profile needed at first: for a shim, which has no time for more.
  ///
  /// - Parameter target: The profile.
  /// - Returns: What is in its last 64 records; nothing where there is no such profile.
  package static func early(of target: ProfileTarget) -> EarlyNeeds {
    var needs = EarlyNeeds()
    // What cannot be read predicts nothing.
    guard let profile = FileDescriptor.openIfPossible(target.path, O_RDONLY | O_DIRECTORY) else {
      return needs
    }
    var left = segmentRecords * RunRecord.size
    // As above; and so is a segment that a keeper removes meanwhile.
    for number in segments(in: profile.entriesIfReadable).suffix(2).reversed() where left > 0 {
      guard let file = profile.openIfPossible("\(number)", O_RDONLY | O_NONBLOCK | O_NOFOLLOW)
      else { continue }
      left -= add(endOf: file, left, to: &needs)
    }
    return needs
  }

  /// Adds the last bytes of a segment.
  ///
  /// - Returns: How many they were.
  private static func add(
    endOf file: borrowing FileDescriptor, _ most: Int, to needs: inout EarlyNeeds
  ) -> Int {
    guard let size = file.statusIfKnown?.size else { return 0 }
    let count = min(most, size)
    // Pieces use the same memory again, and each page of it costs a fault. Where a record was torn,
    // others do not begin at multiples of their size.
    let piece = size % RunRecord.size == 0 ? 8 * RunRecord.size : count
    var place = size - count
    while place < size {
      let bytes = file.bytesIfReadable(at: place, min(piece, size - place))
      if bytes.isEmpty { break }
      needs.add(bytes)
      place += bytes.count
    }
    return count
  }
}
