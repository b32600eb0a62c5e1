// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Quantities
package import Syscalls

/// One instance's directory, open.
package struct StateDirectory: ~Copyable {
  /// Its path.
  package let path: String
  /// The open directory; the flock(2) on it is what makes a supervisor the supervisor.
  package let descriptor: FileDescriptor

  static let stateFile = "state"
  static let nextStateFile = ".state"
  static let recordFile = "record"
  static let counterFile = "counters"
  /// The name of the control socket.
  package static let socketName = "socket"
  static let pidFile = "pid"

  /// Makes the directory of a new instance and locks it.
  ///
  /// - Parameters:
  ///   - stateRoot: Where.
  ///   - root: The runtime's `--root`.
  ///   - id: The container's id.
  /// - Returns: The directory, ours.
  /// - Throws: ``SystemError``: EACCES or EROFS where /run/escra cannot be written.
  package static func create(
    in stateRoot: StateRoot, root: String, id: String
  ) throws(SystemError) -> StateDirectory {
    let shared = stateRoot.directory(root: root, id: id)
    while true {
      for path in [stateRoot.path, stateRoot.containers, shared] { try make(path) }
      var random: UInt64 = 0
      _ = withUnsafeMutableBytes(of: &random) { getentropy($0.baseAddress, 8) }
      let path = shared + "/" + String(random, radix: 36)
      do throws(SystemError) {
        try retrying("make directory", path) { mkdir(path, 0o700) }
        let directory = try StateDirectory(opening: path)
        if directory.claim() { return directory }
      } catch {
        // ENOENT: the last supervisor of an earlier instance removed the shared directory.
        guard error.errno == EEXIST || error.errno == ENOENT else { throw error }
      }
    }
  }

  /// Opens an instance's directory.
  package init(opening path: String) throws(SystemError) {
    self.path = path
    descriptor = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
  }

  /// Opens an instance's directory, if it is there: a container may end at any time.
  package static func ifThere(_ path: String) -> StateDirectory? {
    // Its absence is an answer.
    try? StateDirectory(opening: path)
  }

  /// What is written down of the container of an instance, if it is there.
  package static func load(at path: String) -> ContainerState? { ifThere(path)?.load() }

  /// Takes over a directory that is open, and locked, already.
  package init(path: String, owning descriptor: consuming FileDescriptor) {
    self.path = path
    self.descriptor = descriptor
  }

  /// What is written down of the container; nil when it is missing or torn, or cannot be read.
  package func load() -> ContainerState? { (try? read()) ?? nil }

  /// The same for a process that removes what is recorded nowhere.
  ///
  /// - Returns: nil when it is missing or torn.
  /// - Throws: ``SystemError``; EMFILE where there is no descriptor to look with.
  package func read() throws(SystemError) -> ContainerState? {
    do throws(SystemError) {
      // What its supervisor may have made of it holds up no keeper.
      let bytes = try descriptor.open(Self.stateFile, O_RDONLY | O_NONBLOCK)
        .readAll(limit: 65536)
      return ContainerState(text: String(decoding: bytes, as: UTF8.self))
    } catch {
      if error.errno == ENOENT || error.errno == EFBIG { return nil }
      throw error
    }
  }

  /// Replaces what is written down, as a whole; without fsync, since a boot empties /run anyway.
  package func save(_ state: ContainerState) throws(SystemError) {
    let text = state.text
    try descriptor.replace(Self.stateFile, with: text, by: Self.nextStateFile)
    // Without a spare file an update on a full file system is refused.
    try? descriptor.reserve(Self.stateFile, bytes: text.utf8.count)
  }

  /// Makes all files that a supervisor writes, as far as they are not there.
  ///
  /// - Throws: ``SystemError``; ENOSPC where there is no room for so many.
  package func makeFiles() throws(SystemError) {
    for name in [Self.recordFile, Self.counterFile, Self.nextStateFile] {
      _ = try descriptor.open(name, O_WRONLY | O_CREAT)
    }
  }

  /// Writes down an update that is on its way, and makes sure that its end can be written down too.
  ///
  /// - Throws: ``SystemError``: ENOSPC; then nothing of it is written down.
  package func note(_ update: PendingUpdate) throws(SystemError) {
    guard update != PendingUpdate(), var state = load(), state.update != update else { return }
    let before = state.update
    state.update = update
    do throws(SystemError) {
      try save(state)
      // What it declares takes the place of what was declared, in at most a few more digits.
      try descriptor.reserve(Self.stateFile, bytes: state.text.utf8.count)
    } catch {
      state.update = before
      // The error is what is thrown.
      try? save(state)
      throw error
    }
  }

  /// Where the low-level runtime is told to write the pid when the caller has named no place.
  package var ownPidFile: String { path + "/" + Self.pidFile }

  /// Whether there is room for ``ownPidFile``, whatever our other processes write meanwhile.
  ///
  /// The low-level runtime fails where it cannot write the file. Without one, the supervisor finds
  /// init a second later, in the runtime's own state.
  package var hasRoomForPidFile: Bool {
    var found = statvfs()
    guard fstatvfs(descriptor.number, &found) == 0 else { return false }
    // A tmpfs without a limit says 0 of both.
    let hasFiles = found.f_files == 0 || found.f_favail >= 64
    return hasFiles && (found.f_blocks == 0 || found.f_bavail >= 64)
  }

  /// The instance's nonce, which its directory is called by.
  package var nonce: UInt64 {
    let name = path.utf8.split(separator: UInt8(ascii: "/")).last.map { Substring($0) } ?? ""
    return UInt64(name, radix: 36) ?? 0
  }

  /// Becomes the holder of a directory that no process holds.
  ///
  /// - Returns: Whether it is ours and still there: the holder before may have removed it between
  ///   our open and our lock.
  package func claim() -> Bool {
    descriptor.lockIfFree() && isThere
  }

  /// Whether this still is the directory that has its path.
  package var isThere: Bool {
    guard let ours = descriptor.statusIfKnown,
      let named = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY)?.statusIfKnown
    else { return false }
    return ours.identity == named.identity
  }

  /// Gives the open directory away, and its lock with it.
  package consuming func release() -> FileDescriptor { descriptor }

  /// Whether a live supervisor holds it.
  package var isSupervised: Bool {
    // Through an open file description of its own: a lock is a property of that.
    Self.isLocked(path)
  }

  /// Whether who supervised it has been killed, and the kernel is not done with that: it answers
  /// no process, and no other process gets the lock.
  package var isSupervisorEnding: Bool { load()?.supervisor?.isEnding == true }

  /// Whether some process holds the flock(2) on a directory.
  package static func isLocked(_ path: String) -> Bool {
    guard let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY) else {
      return false
    }
    // A directory that cannot be locked is not locked by another process either.
    return (try? directory.lock(exclusive: false, wait: false)) == false
  }

  /// Whether its supervisor has removed what is written down of the container, which has ended.
  package var isAbandoned: Bool {
    do throws(SystemError) {
      return try descriptor.status(of: Self.stateFile) == nil
    } catch { return false }
  }

  /// Removes the instance; for the holder of the lock only.
  package borrowing func remove() {
    for name in [
      Self.stateFile, Self.nextStateFile, FileDescriptor.spare(of: Self.stateFile), Self.recordFile,
      Self.counterFile, Self.socketName,
      // runc writes the second one and renames it (utils_linux.go, createPidFile).
      Self.pidFile, "." + Self.pidFile,
      Self.releaseFile, "." + Self.releaseFile, Self.adoptionFile,
    ] {
      descriptor.removeIfPossible(name)
    }
    rmdir(path)
    // Fails while another instance lives in there, as it should.
    if let slash = path.lastIndex(of: "/") { rmdir(String(path[..<slash])) }
  }

  /// Makes a directory for root alone, unless it is there.
  package static func make(_ path: String) throws(SystemError) {
    do throws(SystemError) {
      try retrying("make directory", path) { mkdir(path, 0o700) }
    } catch {
      if error.errno != EEXIST { throw error }
    }
  }
}
