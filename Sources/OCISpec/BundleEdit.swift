// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Syscalls

/// The right to edit a bundle's config.json: its lock, held.
///
/// The original keeps its inode under a second name, so that one rename(2) brings bytes, mode,
/// owner, times and extended attributes back. What a crash leaves at any point is either the
/// original in its place or everything needed to put it there:
///
///     .config.json.escra-edit   the record of the edit; there first, gone last
///     .config.json.escra-orig   the original, by link(2)
///     .config.json.escra-new    the edited bytes, until they are renamed to config.json
///
/// The lock is a flock(2) on the record, which only its owner and root can open. It belongs to the
/// open file, so a process that is handed the descriptor (a supervisor, across its start) holds it
/// on after the caller's execve.
///
/// A caller that is killed before its supervisor has started leaves an empty record, which the next
/// create of the bundle removes.
package struct BundleEdit: ~Copyable, Sendable {
  /// What putting back came to.
  package enum Healing: String, Sendable {
    /// There was no edit.
    case nothing
    /// config.json was untouched; only left-overs were removed.
    case untouched
    /// config.json was our edit and is the original again.
    case restored
    /// Another program rewrote our edit; what it left of our members is as it was originally.
    case merged
    /// config.json has nothing of our edit, because another program has written or removed it
    /// since, or because it was copied and not yet edited: it stays, the copy went.
    case superseded
  }

  /// A point that a crash can come at, named by what has been done.
  enum Step: String, CaseIterable {
    case recorded, originalCopied, originalKept, editCreated, editWritten
    case directorySynced, replaced
    case mergeCreated, mergeWritten
    case putBack, putBackSynced, leftOversRemoved
  }

  /// The directory.
  package let directory: FileDescriptor
  /// The record, locked: the lock is free when every copy of this descriptor, in whatever process,
  /// is closed.
  package let lock: FileDescriptor
  private let path: String
  private let names: BundleNames

  /// Takes over a directory, and a record of it that is locked already.
  ///
  /// - Parameters:
  ///   - directory: The bundle's directory.
  ///   - lock: The record.
  ///   - path: What the bundle is called in messages.
  ///   - config: The config, with or without directories; nil for config.json.
  package init(
    holding directory: consuming FileDescriptor, lock: consuming FileDescriptor, path: String,
    config: String?
  ) {
    self.init(holding: directory, lock: lock, path: path, names: BundleNames(of: config))
  }

  init(
    holding directory: consuming FileDescriptor, lock: consuming FileDescriptor, path: String,
    names: BundleNames
  ) {
    self.directory = directory
    self.lock = lock
    self.path = path
    self.names = names
  }

  /// No right at all: what stands for it where nothing is edited.
  package static var none: BundleEdit {
    BundleEdit(holding: .none, lock: .none, path: "", names: BundleNames())
  }

  deinit {
    // A record without a word in it was the lock and nothing else.
    if lock.statusIfKnown?.size == 0, isHeld,
      directory.statusIfThere(of: names.original) == nil
    {
      directory.removeIfPossible(names.record)
    }
  }

  /// Whether the record still has its name: once it is removed, another may hold a new one.
  private var isHeld: Bool {
    guard let own = try? lock.status().identity else { return false }
    return directory.statusIfThere(of: names.record)?.identity == own
  }

  /// Edits config.json; the original is kept beside it.
  ///
  /// - Parameters:
  ///   - edit: What changes.
  ///   - document: config.json as it is.
  /// - Throws: ``ConfigError``; config.json then is as it was.
  package func apply(_ edit: ConfigEdit, to document: ConfigDocument) throws(ConfigError) {
    _ = try putBack(keepingRecord: true) { (_) throws(ConfigError) in }
    do throws(ConfigError) {
      try replace(with: edit.applied(to: document), members: edit.members)
    } catch {
      // What cannot be cleaned up now is healed on the next touch.
      _ = try? putBack()
      throw error
    }
  }

  /// The steps of ``apply(_:to:)``; stops where `checkpoint` throws, as a crash would.
  func replace(
    with bytes: [UInt8], members: [EditRecord.Member] = [], canLink: Bool = true,
    checkpoint: (Step) throws(ConfigError) -> Void = { (_) throws(ConfigError) in }
  ) throws(ConfigError) {
    let source = try open(names.config, O_RDONLY | O_NONBLOCK | O_NOCTTY)
    let status = try at(names.config) { () throws(SystemError) in try source.status() }
    guard status.isRegularFile else { throw .notAFile(path: "\(path)/\(names.config)") }
    guard isHeld else { throw .busy(path: path) }

    try at(names.record) { () throws(SystemError) in
      try lock.overwrite(
        EditRecord(of: bytes, members: members).text, subject: names.record)
      try lock.sync()
    }
    try checkpoint(.recorded)

    try keepOriginal(source, status, canLink: canLink, checkpoint: checkpoint)
    try checkpoint(.originalKept)

    try writeFresh(
      bytes, as: status, (.editCreated, .editWritten), checkpoint: checkpoint)

    // The way back must be durable before the edit can be. The edit itself need not: a power cut
    // that undoes it leaves the original.
    try at(".") { () throws(SystemError) in try directory.sync() }
    try checkpoint(.directorySynced)
    try at(names.config) { () throws(SystemError) in
      try directory.rename(names.fresh, to: names.config)
    }
    try checkpoint(.replaced)
  }

  /// Writes the bytes that are to be renamed to config.json, with the owner and mode of another.
  private func writeFresh(
    _ bytes: [UInt8], as status: FileStatus, _ steps: (created: Step, written: Step),
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) {
    let fresh = try create(names.fresh)
    try checkpoint(steps.created)
    try at(names.fresh) { () throws(SystemError) in
      try fresh.setOwnerAndMode(of: status, subject: "\(path)/\(names.fresh)")
      try fresh.write(bytes)
      try fresh.sync()
    }
    try checkpoint(steps.written)
  }

  /// Gives the original its second name, or a copy where the file system has no hard links.
  private func keepOriginal(
    _ source: borrowing FileDescriptor, _ status: FileStatus, canLink: Bool,
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) {
    do throws(SystemError) {
      if !canLink { throw SystemError("link", names.config, errno: EPERM) }
      return try directory.link(names.config, to: names.original)
    } catch {
      // EPERM also is fs.protected_hardlinks; ENOSYS and EOPNOTSUPP come from FUSE.
      guard [EPERM, EOPNOTSUPP, EMLINK, EXDEV, ENOSYS].contains(error.errno) else {
        throw located(error, names.config)
      }
    }
    // A copy would turn the link into a file for good.
    guard try self.status(names.config)?.isRegularFile == true else {
      throw .symbolicLink(path: "\(path)/\(names.config)")
    }
    let copy = try create(names.copy)
    try at(names.copy) { () throws(SystemError) in
      try copy.setOwnerAndMode(of: status, subject: "\(path)/\(names.copy)")
      try copy.write(try source.readAll())
      try copy.copyTimes(from: source, subject: "\(path)/\(names.copy)")
      try copy.sync()
    }
    try checkpoint(.originalCopied)
    try at(names.original) { () throws(SystemError) in
      try directory.rename(names.copy, to: names.original)
    }
  }

  /// Brings the original back if config.json still is our edit, else the original's text of our
  /// members, and removes what an edit leaves.
  ///
  /// It may be called at any time, any number of times, after a crash at any point of an edit or
  /// of itself. The right to edit ends with it.
  ///
  /// - Throws: ``ConfigError/unknownEdit(path:)`` where a copy is there without a readable record:
  ///   nothing is touched then.
  @discardableResult
  package func putBack() throws(ConfigError) -> Healing {
    try putBack(keepingRecord: false) { (_) throws(ConfigError) in }
  }

  @discardableResult
  func putBack(
    keepingRecord: Bool, checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) -> Healing {
    guard isHeld else { return .nothing }
    let text = try at(names.record) { () throws(SystemError) in
      try lock.contents(subject: names.record)
    }
    var healing = text.isEmpty ? Healing.nothing : .untouched
    if let original = try status(names.original) {
      healing = try settle(original, EditRecord(text), checkpoint: checkpoint)
      try checkpoint(.putBack)
      // The record outlives what it describes, on the disk too.
      try at(".") { () throws(SystemError) in try directory.sync() }
      try checkpoint(.putBackSynced)
    }
    try at(names.record) { () throws(SystemError) in
      try directory.remove(names.copy)
      try directory.remove(names.fresh)
    }
    try checkpoint(.leftOversRemoved)
    try at(names.record) { () throws(SystemError) in
      if keepingRecord { try lock.truncate() } else { try directory.remove(names.record) }
    }
    return healing
  }

  /// Decides between the original and what is in its place.
  private func settle(
    _ original: FileStatus, _ record: EditRecord?,
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) -> Healing {
    let current = try status(names.config)
    let healing: Healing
    if current?.identity == original.identity {
      healing = .untouched
    } else {
      guard let record else { throw .unknownEdit(path: path, config: names.config) }
      if let current, try holds(record, current) {
        healing = .restored
      } else if let current, try merge(record, current, checkpoint: checkpoint) {
        healing = .merged
      } else {
        healing = .superseded
      }
    }
    try at(names.original) { () throws(SystemError) in
      // rename(2) does nothing between two names of one inode, so that case removes as well.
      if healing == .restored {
        try directory.rename(names.original, to: names.config)
      } else {
        try directory.remove(names.original)
      }
    }
    return healing
  }

  /// Whether config.json holds the bytes that the record tells of.
  private func holds(
    _ record: EditRecord, _ current: FileStatus
  ) throws(ConfigError) -> Bool {
    guard current.isRegularFile, current.size == record.length else { return false }
    let config = try open(names.config, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    return try at(names.config) { () throws(SystemError) in
      var found = EditRecord()
      try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) {
        buffer throws(SystemError) in
        while case let count = try config.read(into: buffer), count > 0 {
          found.add(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
      }
      return found.isSameText(as: record)
    }
  }

  /// Puts the original's text back where another program has left our members as we wrote them.
  ///
  /// - Returns: Whether there was any.
  private func merge(
    _ record: EditRecord, _ current: FileStatus,
    checkpoint: (Step) throws(ConfigError) -> Void
  ) throws(ConfigError) -> Bool {
    guard current.isRegularFile, !record.members.isEmpty else { return false }
    let flags = O_RDONLY | O_NONBLOCK | O_NOCTTY
    let file = try open(names.config, flags | O_NOFOLLOW)
    // Where the original is a symbolic link it is read as the runtime would read it.
    let original = try open(names.original, flags)
    let texts = try at(names.config) { () throws(SystemError) in
      (
        try file.readAll(limit: Bundle.largestConfig),
        try original.readAll(limit: Bundle.largestConfig)
      )
    }
    guard let merged = ConfigEdit.undo(record.members, in: texts.0, original: texts.1) else {
      return false
    }
    try at(names.fresh) { () throws(SystemError) in try directory.remove(names.fresh) }
    try writeFresh(
      merged, as: current, (.mergeCreated, .mergeWritten), checkpoint: checkpoint)
    try at(names.config) { () throws(SystemError) in
      try directory.rename(names.fresh, to: names.config)
    }
    return true
  }

  private func create(_ name: String) throws(ConfigError) -> FileDescriptor {
    try open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
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
