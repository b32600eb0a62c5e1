// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Quantities
package import Syscalls

/// Where supervised containers are known: /run/escra, on a tmpfs, so that a boot forgets it.
///
/// `containers/KEY/NONCE/` belongs to one instance of one container. KEY is a hash of the
/// runtime's root and the id, because the id alone is unique in neither; NONCE tells this
/// instance from the one that had the same id 0.1 s ago. The process that holds the flock(2) on the
/// NONCE directory is its supervisor, and only the holder removes it.
package struct StateRoot: Sendable {
  /// The directory everything is below.
  package let path: String

  /// The machine's own.
  package static let system = StateRoot(path: "/run/escra")

  /// A root somewhere else, for tests.
  package init(path: String) { self.path = path }

  /// The root that an instance's directory is in: ROOT/containers/KEY/NONCE.
  package init(ofInstance path: String) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    self.init(path: parts.dropLast(3).joined(separator: "/"))
  }

  /// The keeper's directory; the process that holds the flock(2) on it is the keeper.
  package var keeper: String { path + "/keeper" }
  /// The node agent's directory; the process that holds the flock(2) on it is the node's agent.
  package var agent: String { path + "/agent" }

  /// A runtime's `--root` as it is known by: absolute, and one however it is spelt.
  ///
  /// By its words alone, as runc does (Go's filepath.Abs): a symbolic link is another root to it.
  package static func runtimeRoot(_ text: String) -> String {
    // A shim asks for it several times, and nearly always it is spelt like that.
    if isClean(text) { return text }
    var parts: [Substring] = []
    for part in absolutePath(text).split(separator: "/") where part != "." {
      if part != ".." { parts.append(part) } else if !parts.isEmpty { parts.removeLast() }
    }
    return "/" + parts.joined(separator: "/")
  }

  /// Whether a path is absolute, and none of its parts is empty or begins with a dot.
  private static func isClean(_ text: String) -> Bool {
    var isStart = false
    for (index, byte) in text.utf8.enumerated() {
      let isSlash = byte == UInt8(ascii: "/")
      if index == 0 ? !isSlash : isStart && (isSlash || byte == UInt8(ascii: ".")) { return false }
      isStart = isSlash
    }
    return !isStart && !text.isEmpty
  }

  /// Where container directories are.
  package var containers: String { path + "/containers" }

  /// The directory that all instances of one container share.
  ///
  /// - Parameters:
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  /// - Returns: A path whether or not it exists.
  package func directory(root: String, id: String) -> String {
    var hash = FNV1a()
    hash.add(root.utf8)
    hash.add(0)
    hash.add(id.utf8)
    return containers + "/" + hash.digits
  }

  /// Makes sure that what is in here can be looked at; that nothing is here is no error.
  ///
  /// Who supervises goes on with what ``instances()`` finds, and a person has to be told instead.
  ///
  /// - Throws: ``SystemError``: EACCES for any user but root.
  package func checkAccess() throws(SystemError) {
    for directory in [containers, applications] {
      do throws(SystemError) { _ = try Self.names(in: directory) } catch {
        throw SystemError("read", directory, errno: error.errno)
      }
    }
  }

  /// All instances there are, as paths of NONCE directories.
  package func instances() -> [String] { (try? allInstances()) ?? [] }

  /// The same for who does something about those that are not among them, and has to know of all.
  ///
  /// - Throws: ``SystemError``; EMFILE where there is no descriptor to look with.
  package func allInstances() throws(SystemError) -> [String] {
    var found: [String] = []
    for key in try Self.names(in: containers) {
      let directory = containers + "/" + key
      for name in try Self.names(in: directory) { found.append(directory + "/" + name) }
    }
    return found
  }

  /// The nonces of ``allInstances()``.
  package func nonces() throws(SystemError) -> Set<UInt64> {
    Set(
      try allInstances().compactMap { path in
        path.split(separator: "/").last.flatMap { ApplicationDirectory.nonce($0) }
      })
  }

  /// What is in a directory, which may go at any time: nothing then.
  private static func names(in directory: String) throws(SystemError) -> [String] {
    do throws(SystemError) {
      return try FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY).entries()
    } catch {
      if error.errno == ENOENT { return [] }
      throw error
    }
  }

  /// Whether there is any; of a thousand the first one says so.
  package var hasInstances: Bool {
    guard let keys = try? Self.names(in: containers) else { return false }
    return keys.contains { !instances(in: containers + "/" + $0).isEmpty }
  }

  /// The instances of one container: other containers may have the same directory, as ids can be made
  /// to have the same hash.
  ///
  /// - Parameters:
  ///   - root: The runtime's `--root`, absolute.
  ///   - id: The container's id.
  /// - Returns: Paths of NONCE directories, also of one that nothing is written down in yet.
  package func instances(root: String, id: String) -> [String] {
    instances(in: directory(root: root, id: id)).filter { path in
      guard let state = StateDirectory.load(at: path) else { return true }
      return state.root == root && state.id == id
    }
  }

  /// What is in the directory of one container.
  ///
  /// - Parameter directory: What ``directory(root:id:)`` returned.
  /// - Returns: Paths of NONCE directories; empty when the container is not supervised.
  package func instances(in directory: String) -> [String] {
    guard let names = try? Self.names(in: directory) else { return [] }
    return names.map { directory + "/" + $0 }
  }
}

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
