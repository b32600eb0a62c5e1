// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

/// The right to edit a bundle's config.json: its lock, held.
///
/// The original keeps its inode under a second name, so that one rename(2) brings bytes, mode,
/// owner, times and extended attributes back. What a crash leaves at any point is either the
/// original in its place or everything needed to put it there:
///
///     .config.json.escra-edit   the record: the hash of the edited bytes; there first, gone last
///     .config.json.escra-orig   the original, by link(2)
///     .config.json.escra-new    the edited bytes, until they are renamed to config.json
///
/// The lock is a flock(2) on the directory. It belongs to the open file, so whoever is handed
/// the descriptor (a supervisor, across its start) holds it on after the caller's execve.
public struct BundleEdit: ~Copyable, Sendable {
  static let config = "config.json"
  static let record = ".config.json.escra-edit"
  static let original = ".config.json.escra-orig"
  static let fresh = ".config.json.escra-new"
  static let copy = ".config.json.escra-orig-new"

  /// What putting back came to.
  public enum Healing: String, Sendable {
    /// There was no edit.
    case nothing
    /// config.json was untouched; only left-overs were removed.
    case untouched
    /// config.json was our edit and is the original again.
    case restored
    /// config.json is not our edit, because somebody has written or removed it since, or because
    /// it was copied and not yet edited: it stays, the copy went.
    case superseded
  }

  /// A point that a crash can come at, named by what has been done.
  enum Step: String, CaseIterable {
    case recordCreated, recorded, originalCopied, originalKept, editCreated, editWritten
    case directorySynced, replaced
    case putBack, putBackSynced, leftOversRemoved
  }

  /// The locked directory.
  ///
  /// Its descriptor carries the lock: the lock is free when every copy of the descriptor, in
  /// whatever process, is closed.
  public let directory: FileDescriptor
  private let path: String

  /// Takes over a descriptor that carries the lock already.
  public init(holding directory: consuming FileDescriptor, path: String) {
    self.directory = directory
    self.path = path
  }

  /// The descriptor, to be handed on with the lock.
  public consuming func release() -> FileDescriptor { directory }

  /// Puts other bytes in the place of config.json; the original is kept beside it.
  ///
  /// - Parameter bytes: The whole new document.
  /// - Throws: ``ConfigError``; config.json then is as it was.
  public func replaceConfig(with bytes: [UInt8]) throws(ConfigError) {
    try putBack()
    do throws(ConfigError) {
      try replace(with: bytes)
    } catch {
      // What cannot be cleaned up now is healed on the next touch.
      _ = try? putBack()
      throw error
    }
  }

  /// The steps of ``replaceConfig(with:)``; stops where `checkpoint` throws, as a crash would.
  func replace(
    with bytes: [UInt8], canLink: Bool = true,
    checkpoint: (Step) throws(ConfigError) -> Void = { (_) throws(ConfigError) in }
  ) throws(ConfigError) {
    let create = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW
    let source = try open(Self.config, O_RDONLY | O_NONBLOCK | O_NOCTTY)
    let status = try at(Self.config) { () throws(SystemError) in try source.status() }
    guard status.isRegularFile else { throw .notAFile(path: "\(path)/\(Self.config)") }

    let record = try open(Self.record, create)
    try checkpoint(.recordCreated)
    try at(Self.record) { () throws(SystemError) in
      try record.write(EditRecord(of: bytes).text)
      try record.sync()
    }
    try checkpoint(.recorded)

    try keepOriginal(source, status, canLink: canLink, checkpoint: checkpoint)
    try checkpoint(.originalKept)

    let fresh = try open(Self.fresh, create)
    try checkpoint(.editCreated)
    try at(Self.fresh) { () throws(SystemError) in
      try fresh.setOwnerAndMode(of: status, subject: "\(path)/\(Self.fresh)")
      try fresh.write(bytes)
      try fresh.sync()
    }
    try checkpoint(.editWritten)

    // The way back must be durable before the edit can be. The edit itself need not: a power cut
    // that undoes it leaves the original.
    try at(".") { () throws(SystemError) in try directory.sync() }
    try checkpoint(.directorySynced)
    try at(Self.config) { () throws(SystemError) in
      try directory.rename(Self.fresh, to: Self.config)
    }
    try checkpoint(.replaced)
  }

  /// Gives the original its second name, or a copy where the file system has no hard links.
  private func keepOriginal(
    _ source: borrowing FileDescriptor, _ status: FileStatus, canLink: Bool,
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) {
    do throws(SystemError) {
      if !canLink { throw SystemError("link", Self.config, errno: EPERM) }
      return try directory.link(Self.config, to: Self.original)
    } catch {
      // EPERM also is fs.protected_hardlinks; ENOSYS and EOPNOTSUPP come from FUSE.
      guard [EPERM, EOPNOTSUPP, EMLINK, EXDEV, ENOSYS].contains(error.errno) else {
        throw located(error, Self.config)
      }
    }
    let name = try at(Self.config) { () throws(SystemError) in
      try directory.status(of: Self.config)
    }
    // A copy would turn the link into a file for good.
    guard let name, name.isRegularFile else {
      throw .symbolicLink(path: "\(path)/\(Self.config)")
    }
    let copy = try open(Self.copy, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
    try at(Self.copy) { () throws(SystemError) in
      try copy.setOwnerAndMode(of: status, subject: "\(path)/\(Self.copy)")
      try copy.write(try source.readAll())
      try copy.copyTimes(from: source, subject: "\(path)/\(Self.copy)")
      try copy.sync()
    }
    try checkpoint(.originalCopied)
    try at(Self.original) { () throws(SystemError) in
      try directory.rename(Self.copy, to: Self.original)
    }
  }

  /// Brings the original back if config.json still is our edit, and removes what an edit leaves.
  ///
  /// It may be called at any time, any number of times, after a crash at any point of an edit or
  /// of itself.
  ///
  /// - Throws: ``ConfigError/unknownEdit(path:)`` where a copy is there without a readable record:
  ///   nothing is touched then.
  @discardableResult
  public func putBack() throws(ConfigError) -> Healing {
    try putBack { (_) throws(ConfigError) in }
  }

  func putBack(
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) -> Healing {
    guard try status(Self.record) != nil else { return .nothing }
    var healing = Healing.untouched
    if let original = try status(Self.original) {
      healing = try settle(original)
      try checkpoint(.putBack)
      // The record outlives what it describes, on the disk too.
      try at(".") { () throws(SystemError) in try directory.sync() }
      try checkpoint(.putBackSynced)
    }
    try at(Self.record) { () throws(SystemError) in
      try directory.remove(Self.copy)
      try directory.remove(Self.fresh)
    }
    try checkpoint(.leftOversRemoved)
    try at(Self.record) { () throws(SystemError) in try directory.remove(Self.record) }
    return healing
  }

  /// Decides between the original and what is in its place.
  private func settle(_ original: FileStatus) throws(ConfigError) -> Healing {
    let current = try status(Self.config)
    let healing: Healing =
      if current?.identity == original.identity {
        .untouched
      } else if try isEdit(current) {
        .restored
      } else {
        .superseded
      }
    try at(Self.original) { () throws(SystemError) in
      // rename(2) does nothing between two names of one inode, so that case removes as well.
      if healing == .restored {
        try directory.rename(Self.original, to: Self.config)
      } else {
        try directory.remove(Self.original)
      }
    }
    return healing
  }

  /// Whether config.json holds the bytes that the record tells of.
  private func isEdit(_ current: FileStatus?) throws(ConfigError) -> Bool {
    let file = try open(Self.record, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    let text = try at(Self.record) { () throws(SystemError) in
      try file.contents(subject: Self.record)
    }
    guard let record = EditRecord(text) else { throw .unknownEdit(path: path) }
    guard let current, current.isRegularFile, current.size == record.length else { return false }
    let config = try open(Self.config, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    return try at(Self.config) { () throws(SystemError) in
      var found = EditRecord()
      try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) {
        buffer throws(SystemError) in
        while case let count = try config.read(into: buffer), count > 0 {
          found.add(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
      }
      return found == record
    }
  }

  private func open(_ name: String, _ flags: CInt) throws(ConfigError) -> FileDescriptor {
    do throws(SystemError) {
      return try directory.open(name, flags)
    } catch { throw located(error, name) }
  }

  private func status(_ name: String) throws(ConfigError) -> FileStatus? {
    try at(name) { () throws(SystemError) in try directory.status(of: name) }
  }

  /// Does something with a name of the bundle, so that its error says which.
  private func at<Result>(
    _ name: String, _ body: () throws(SystemError) -> Result
  ) throws(ConfigError) -> Result {
    do throws(SystemError) {
      return try body()
    } catch { throw located(error, name) }
  }

  private func located(_ error: SystemError, _ name: String) -> ConfigError {
    .system(SystemError(error.step, "\(path)/\(name)", errno: error.errno))
  }
}
