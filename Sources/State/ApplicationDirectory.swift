// SPDX-License-Identifier: Apache-2.0
package import Application
internal import CLinux
internal import Cgroups
internal import Glibc
internal import Quantities
package import Syscalls

/// Where the supervisors of an application find each other: `/run/escra/apps/SHA256/`, for root alone.
///
///     name             what the application is called, and for whom
///     members/NONCE    a ``MemberRecord``; locked by the supervisor while it lives
///     .lock            locked by the broker
///     .limits          what the broker keeps, for the next one
///     socket           where the broker listens
///     cluster          what the node's agent says of it, if its scope is the cluster
///     .kill.NONCE      a FIFO; a process that writes to it kills the supervisor of that member
///
/// The locks are those of fcntl(2): the kernel tells whose they are (F_GETLK), so that who is
/// silent can be killed, and no other process. A room is there as long as a member is registered,
/// and the broker removes it.
package struct ApplicationDirectory: ~Copyable {
  /// Its path, as this process sees it.
  package let path: String
  let directory: FileDescriptor
  let locks: Locks

  /// Whose a lock is.
  package enum Locks: Sendable {
    /// The process's.
    case processes
    /// The open file's, for tests in which all are one process.
    case descriptions
  }

  static let lockFile = ".lock"
  static let limitsFile = ".limits"
  static let nameFile = "name"
  static let socketName = "socket"
  static let membersName = "members"
  static let clusterFile = "cluster"
  /// For how long the process that had a member's file before may take to end.
  static let adoptionPatience: Nanoseconds = 100_000_000
  static let temporary = ".new."
  static let killSwitches = ".kill."

  /// Opens a room that is there.
  ///
  /// - Throws: ``SystemError``; ENOENT when there is none.
  package init(opening path: String, locks: Locks = .processes) throws(SystemError) {
    self.path = path
    self.locks = locks
    directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
  }

  /// Opens a room, if it is there: its broker may remove it at any time.
  package static func ifThere(_ path: String) -> ApplicationDirectory? {
    // Its absence is an answer.
    try? ApplicationDirectory(opening: path)
  }

  /// Opens a room, and makes it where there is none.
  package init(making path: String, locks: Locks = .processes) throws(SystemError) {
    if let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) {
      try StateDirectory.make(String(path[..<slash]))
    }
    try StateDirectory.make(path)
    try self.init(opening: path, locks: locks)
  }

  // MARK: the name

  /// Says what the application is called, or finds that it is another application's.
  ///
  /// The directories of earlier versions are called by a hash that can be made to meet another one.
  ///
  /// - Returns: Whether it is the one that was meant.
  package func isNamed(_ name: String) throws(SystemError) -> Bool {
    if let known = text(of: Self.nameFile) { return known == name }
    try replace(Self.nameFile, with: name)
    return text(of: Self.nameFile) == name
  }

  /// What the application is called, and for whom; nil if that is not recorded yet.
  package var scope: (name: String, namespace: String?, root: String)? {
    guard let text = text(of: Self.nameFile) else { return nil }
    let keyed = KeyValueText(text)
    guard let name = keyed["name"] else { return nil }
    return (name, keyed["namespace"], keyed["root"] ?? "")
  }

  /// Whether the application spans nodes.
  package var isClusterScoped: Bool {
    KeyValueText(text(of: Self.nameFile) ?? "")["scope"] == ApplicationMembership.clusterScope
  }

  // MARK: the broker

  /// Becomes the broker, if no process is.
  ///
  /// - Returns: What is the broker's as long as it is open.
  package func takeLock() -> FileDescriptor? {
    guard let file = directory.openIfPossible(Self.lockFile, O_RDWR | O_CREAT),
      escra_lock_file(file.number, locks == .descriptions) == 0,
      // The last broker may have removed it after we had opened it.
      let ours = try? file.status().identity,
      let named = try? directory.status(of: Self.lockFile)?.identity, ours == named
    else { return nil }
    return file
  }

  /// The broker's pid; nil where there is none, or it is this process.
  package var broker: Int32? {
    guard let file = directory.openIfPossible(Self.lockFile, O_RDONLY) else { return nil }
    return Self.holder(file)
  }

  /// Kills the broker, which is a member, too.
  ///
  /// - Parameter own: The caller, which is not the broker, and whose file must not be opened.
  package func fenceBroker(except own: UInt64) {
    guard let broker else { return }
    for nonce in nonces where nonce != own { fence(nonce, ifItIs: broker) }
  }

  /// Listens where the members connect; for the broker.
  package func listen() throws(SystemError) -> FileDescriptor {
    let temporary = ".socket"
    try directory.remove(temporary)
    let listener = FileDescriptor(
      owning: try retrying("listen on", path) {
        escra_seqpacket_listen_at(path + "/" + temporary)
      })
    // A process that connects finds a broker that listens, or no socket.
    try directory.rename(temporary, to: Self.socketName)
    return listener
  }

  /// Connects to the broker.
  ///
  /// - Throws: ``SystemError``: ENOENT or ECONNREFUSED where there is none yet.
  package func connect() throws(SystemError) -> FileDescriptor {
    FileDescriptor(
      owning: try retrying("connect to", path) {
        escra_seqpacket_connect_to(path + "/" + Self.socketName)
      })
  }

  // MARK: limits

  /// What the application may use, as the broker keeps it.
  package func limits() -> (cpu: ApplicationLimits, memory: ApplicationLimits) {
    let keyed = KeyValueText(text(of: Self.limitsFile) ?? "")
    func limits(_ name: String) -> ApplicationLimits {
      var limits = ApplicationLimits(
        explicit: keyed[int: name], annotated: keyed[int: name + "Annotated"],
        inForce: max(0, keyed[int: name + "InForce"] ?? 0),
        awaitsShareUntil: keyed[int: name + "AwaitsShare"])
      if let share = keyed[int: name + "Share"], let least = keyed[int: name + "ShareMinimum"] {
        limits.share = ApplicationMessage.Share(
          limit: share, minimum: least, deadline: keyed[int: name + "ShareDeadline"])
      }
      return limits
    }
    return (limits("cpu"), limits("memory"))
  }

  /// Keeps the limits for the next broker.
  package func save(cpu: ApplicationLimits, memory: ApplicationLimits) {
    var keyed = KeyValueText()
    for (name, limits) in [("cpu", cpu), ("memory", memory)] {
      keyed[int: name] = limits.explicit
      keyed[int: name + "Annotated"] = limits.annotated
      keyed[int: name + "InForce"] = limits.inForce
      keyed[int: name + "Share"] = limits.share?.limit
      keyed[int: name + "ShareMinimum"] = limits.share?.minimum
      keyed[int: name + "ShareDeadline"] = limits.share?.deadline
      keyed[int: name + "AwaitsShare"] = limits.awaitsShareUntil
    }
    let text = keyed.text
    // Not saved, the next broker has the limits before this; the members hold no more than both.
    try? replace(Self.limitsFile, with: text)
    try? directory.reserve(Self.limitsFile, bytes: text.utf8.count)
  }

  // MARK: the cluster

  /// What the node's agent says of the application; nil where it has said nothing.
  package var clusterStatus: ClusterStatus? {
    guard let file = directory.openIfPossible(Self.clusterFile, O_RDONLY | O_NONBLOCK),
      let bytes = file.bytesIfReadable(limit: ClusterStatus.mostBytes)
    else { return nil }
    return ClusterStatus(text: String(decoding: bytes, as: UTF8.self))
  }

  /// Says it; for the agent.
  ///
  /// - Throws: ``SystemError``: ENOENT where the room is just being removed.
  package func save(_ status: ClusterStatus) throws(SystemError) {
    try replace(Self.clusterFile, with: status.text)
  }

  // MARK: the end

  /// Removes the room if no member is registered any more.
  ///
  /// Called by a member that has left it, and has no lock: of several that leave at once the last
  /// one finds it empty, or finds the one who removes it.
  package func removeIfEmpty() {
    while nonces.isEmpty {
      guard let lock = takeLock() else { return }
      let isInUse = remove()
      _ = consume lock
      guard isInUse else { return }
    }
  }

  /// - Returns: Whether a member is in it again.
  func remove() -> Bool {
    if let members = try? members() {
      // Of a member that has died before it was registered.
      for name in members.entriesIfReadable where name.utf8.first == UInt8(ascii: ".") {
        members.removeIfPossible(name)
      }
    }
    do throws(SystemError) {
      try directory.remove(Self.membersName, directory: true)
    } catch { return true }
    // No member is registered; a newcomer finds that out by the directory's absence.
    let leftOver = directory.entriesIfReadable.filter {
      $0.utf8.starts(with: Self.temporary.utf8) || $0.utf8.starts(with: Self.killSwitches.utf8)
    }
    for name in leftOver + [
      Self.socketName, ".socket", Self.limitsFile, Self.nameFile, Self.lockFile,
      Self.clusterFile,
      FileDescriptor.spare(of: Self.limitsFile),
    ] {
      directory.removeIfPossible(name)
    }
    // A supervisor cannot reach what its root directory is in: the keeper can.
    return rmdir(path) != 0 && errno == ENOTEMPTY
  }

  /// Removes the directories of applications whose last members had nothing left to remove in them.
  package static func removeAbandoned(_ root: StateRoot) {
    guard let rooms = FileDescriptor.openIfPossible(root.applications, O_RDONLY | O_DIRECTORY)
    else { return }
    // Those that are not empty stay.
    for name in rooms.entriesIfReadable { rooms.removeIfPossible(name, directory: true) }
  }

  /// Forgets those whose state is gone, and removes rooms that are empty: for the keeper.
  ///
  /// A container is registered after it has a state, and forgotten before it has none.
  package static func sweep(_ root: StateRoot) {
    let names = FileDescriptor.entriesIfReadable(of: root.applications)
    let rooms = names.compactMap { name -> (path: String, nonces: [UInt64])? in
      let path = root.applications + "/" + name
      guard let room = ApplicationDirectory.ifThere(path) else { return nil }
      return (path, room.nonces)
    }
    // Behind the members: each of them had a state before it was registered.
    guard !rooms.isEmpty, let known = try? root.nonces() else { return }
    for (path, nonces) in rooms {
      let gone = nonces.filter { !known.contains($0) }
      guard gone.count == nonces.count || !gone.isEmpty,
        let room = ApplicationDirectory.ifThere(path)
      else { continue }
      for nonce in gone { room.forget(nonce) }
      room.removeIfEmpty()
    }
  }

  // MARK: files

  func members() throws(SystemError) -> FileDescriptor {
    try directory.open(Self.membersName, O_RDONLY | O_DIRECTORY)
  }

  func record(_ file: borrowing FileDescriptor, _ nonce: UInt64) -> MemberRecord? {
    var bytes = [UInt8](repeating: 0, count: MemberRecord.size)
    let count = bytes.withUnsafeMutableBytes { pread(file.number, $0.baseAddress, $0.count, 0) }
    return count == MemberRecord.size ? MemberRecord(nonce: nonce, bytes: bytes) : nil
  }

  private func text(of name: String) -> String? {
    guard let file = directory.openIfPossible(name, O_RDONLY),
      let bytes = file.bytesIfReadable(limit: 4096)
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func replace(_ name: String, with text: String) throws(SystemError) {
    // Of two that write at once neither writes into the other's.
    var random: UInt64 = 0
    _ = withUnsafeMutableBytes(of: &random) { getentropy($0.baseAddress, 8) }
    let temporary = Self.temporary + Self.name(of: random)
    try directory.replace(name, with: text, by: temporary)
  }

  static func holder(_ file: borrowing FileDescriptor) -> Int32? {
    let pid = escra_lock_holder(file.number)
    return pid == 0 ? nil : pid
  }

  /// A member's name: its nonce in base 36, as the directory of its state is called.
  package static func name(of nonce: UInt64) -> String { String(nonce, radix: 36) }

  /// The nonce of a name; nil for a name that is none.
  package static func nonce(_ name: some StringProtocol) -> UInt64? {
    let nonce = UInt64(name, radix: 36)
    return nonce.flatMap { Self.name(of: $0).elementsEqual(name) ? $0 : nil }
  }
}
