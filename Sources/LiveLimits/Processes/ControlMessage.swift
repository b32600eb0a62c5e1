// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import Quantities
internal import State
package import Syscalls

/// What shim, supervisor and keeper say to each other: one fixed frame over SOCK_SEQPACKET.
///
/// 32 bytes, little-endian: magic "ESCR", version, kind, three words. Decoding is total: any
/// bytes give a message or nil. A peer of another version is told apart by the version, and not
/// answered.
package enum ControlMessage: Equatable, Sendable {
  /// Supervisor to shim: ready, and this is the first limit; and that of memory in bytes, where it is
  /// an application's to grant.
  case ready(CFSBandwidth, memory: Int64? = nil)
  /// Shim to supervisor: the declared limit changes; nil leaves a part as it was.
  case update(quota: Int64?, period: Int64?)
  /// Supervisor to shim: this is what the low-level runtime shall write.
  case apply(CFSBandwidth)
  /// Shim to supervisor: an update is on its way, with these memory limits in bytes, -1 for none;
  /// nil for what it does not name.
  case updateMemory(limit: Int64?, swap: Int64?)
  /// Supervisor to shim: what the low-level runtime shall write; nil to leave it out.
  case applyMemory(limit: Int64?, swap: Int64?)
  /// Supervisor to shim: the update cannot be noted, for this errno; nothing has changed.
  case notNoted(errno: Int32)
  /// Supervisor to shim: another update is on its way; ask again in a moment.
  case updating
  /// Shim to supervisor: the low-level runtime has ended, and has taken the update or refused it.
  case updateEnded(isTaken: Bool)
  /// Supervisor to shim: what was noted is in force, or dropped.
  case updateSettled
  /// Supervisor to shim: there is no place in the application.
  case refused(NoPlace)
  /// Keeper to supervisor: this connection is the keeper's.
  case keeperIsHere
  /// Supervisor to keeper: what is this process called, which has written a limit?
  case whoIs(Int32)
  /// Keeper to supervisor: its name, at most 15 bytes; empty if that process is gone.
  case named(Int32, String)
  /// Supervisor to keeper: init has ended; is a process left in the container's group or below it?
  case askEnd
  /// Keeper to supervisor: no process is left.
  case over
  /// Tool to supervisor: append what is known of this run to its history.
  case snapshot
  /// Supervisor to keeper: for this errno, something of the history could not be written.
  case unrecorded(errno: Int32)
  /// To the keeper: look at one instance, by the last two parts of its path.
  case lookAt(String)
  /// To the keeper: look at the containers again; to a supervisor: look at its application's limits
  /// again.
  case look
  /// The keeper has looked.
  case looked

  /// Bytes of a frame, without the text of ``lookAt(_:)`` behind it.
  package static let size = 32
  /// Bytes of the longest text.
  static let longestText = 512
  private static let magic: UInt32 = 0x5243_5345
  private static let version: UInt16 = 1
  /// "Not in the request", as a word.
  private static let absent = Int64.min
  /// "No limit", as a word.
  private static let unlimited: Int64 = -1

  /// The frame.
  package var bytes: [UInt8] {
    let (kind, words): (UInt16, [Int64]) =
      switch self {
      case .ready(let limit, let memory):
        (1, [limit.quota ?? Self.unlimited, limit.period, memory ?? 0])
      case .update(let quota, let period): (2, [quota ?? Self.absent, period ?? Self.absent])
      case .apply(let limit): (3, [limit.quota ?? Self.unlimited, limit.period])
      case .look: (4, [])
      case .looked: (5, [])
      case .askEnd: (10, [])
      case .over: (11, [])
      case .lookAt: (12, [])
      case .keeperIsHere: (16, [])
      case .whoIs(let process): (19, [Int64(process)])
      case .named(let process, let name):
        (20, [Int64(process)] + Self.words(of: name))
      case .notNoted(let errno): (24, [Int64(errno)])
      case .updating: (25, [])
      case .updateEnded(let isTaken): (26, [isTaken ? 1 : 0])
      case .updateSettled: (27, [])
      case .snapshot: (28, [])
      case .unrecorded(let errno): (29, [Int64(errno)])
      case .updateMemory(let limit, let swap): (6, [limit ?? Self.absent, swap ?? Self.absent])
      case .applyMemory(let limit, let swap): (7, [limit ?? Self.absent, swap ?? Self.absent])
      case .refused(let why): (8, [why.word, why.figure])
      }
    var frame = [UInt8](repeating: 0, count: Self.size)
    frame.withUnsafeMutableBytes { buffer in
      buffer.storeBytes(of: Self.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
      buffer.storeBytes(of: Self.version.littleEndian, toByteOffset: 4, as: UInt16.self)
      buffer.storeBytes(of: kind.littleEndian, toByteOffset: 6, as: UInt16.self)
      for (index, word) in words.enumerated() {
        buffer.storeBytes(of: word.littleEndian, toByteOffset: 8 + 8 * index, as: Int64.self)
      }
    }
    if case .lookAt(let instance) = self { frame += Array(instance.utf8) }
    return frame
  }

  /// A process's name as two words.
  private static func words(of name: String) -> [Int64] {
    var words: [UInt64] = [0, 0]
    for (index, byte) in name.utf8.prefix(16).enumerated() {
      words[index / 8] |= UInt64(byte) << UInt64(8 * (index % 8))
    }
    return words.map { Int64(bitPattern: $0) }
  }

  private static func text(of words: (Int64, Int64)) -> String {
    var text = withUnsafeBytes(of: (words.0.littleEndian, words.1.littleEndian)) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    // What is no UTF-8 has become longer.
    while text.utf8.count > 16 { text.removeLast() }
    return text
  }

  /// Reads a frame; nil for anything that is none of ours.
  package init?(bytes: [UInt8]) {
    guard bytes.count >= Self.size, bytes.count <= Self.size + Self.longestText else { return nil }
    let (magic, version, kind, first, second, third) = bytes.withUnsafeBytes { buffer in
      (
        UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
        UInt16(littleEndian: buffer.loadUnaligned(fromByteOffset: 4, as: UInt16.self)),
        UInt16(littleEndian: buffer.loadUnaligned(fromByteOffset: 6, as: UInt16.self)),
        Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8, as: Int64.self)),
        Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: 16, as: Int64.self)),
        Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: 24, as: Int64.self))
      )
    }
    guard magic == Self.magic, version == Self.version, bytes.count == Self.size || kind == 12
    else { return nil }
    func present(_ word: Int64) -> Int64? { word == Self.absent ? nil : word }
    let limit = second > 0 ? CFSBandwidth(quota: first < 0 ? nil : first, period: second) : nil
    switch (kind, limit) {
    case (1, let limit?): self = .ready(limit, memory: third > 0 ? third : nil)
    case (2, _):
      self = .update(
        quota: first == Self.absent ? nil : first, period: second == Self.absent ? nil : second)
    case (3, let limit?): self = .apply(limit)
    case (4, _): self = .look
    case (5, _): self = .looked
    case (10, _): self = .askEnd
    case (11, _): self = .over
    case (12, _): self = .lookAt(String(decoding: bytes.dropFirst(Self.size), as: UTF8.self))
    case (16, _): self = .keeperIsHere
    case (19, _): self = .whoIs(Int32(truncatingIfNeeded: first))
    case (20, _):
      self = .named(Int32(truncatingIfNeeded: first), Self.text(of: (second, third)))
    case (24, _): self = .notNoted(errno: Int32(truncatingIfNeeded: first))
    case (25, _): self = .updating
    case (26, _): self = .updateEnded(isTaken: first == 1)
    case (27, _): self = .updateSettled
    case (28, _): self = .snapshot
    case (29, _): self = .unrecorded(errno: Int32(truncatingIfNeeded: first))
    case (6, _): self = .updateMemory(limit: present(first), swap: present(second))
    case (7, _): self = .applyMemory(limit: present(first), swap: present(second))
    case (8, _): self = .refused(NoPlace(word: first, figure: second))
    default: return nil
    }
  }
}

/// One end of a conversation.
package struct ControlSocket: ~Copyable {
  /// The socket, for a poller.
  package let descriptor: FileDescriptor

  /// Takes over a connected socket.
  package init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Connects to a name in an open directory.
  package init(connectingTo name: String, in directory: borrowing FileDescriptor)
    throws(SystemError)
  {
    descriptor = FileDescriptor(
      owning: try retrying("connect to", name) { escra_seqpacket_connect(directory.number, name) })
  }

  /// Connects to a name in an open directory, if a process listens there.
  package static func ifListening(
    _ name: String, in directory: borrowing FileDescriptor
  ) -> ControlSocket? {
    // A process that has ended does not listen.
    try? ControlSocket(connectingTo: name, in: directory)
  }

  /// Makes two ends: socketpair(2).
  package static func pair() throws(SystemError) -> (Int32, Int32) {
    var ends: (Int32, Int32) = (-1, -1)
    try retrying("make", "a socket pair") {
      withUnsafeMutableBytes(of: &ends) {
        socketpair(
          AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0,
          $0.baseAddress?.assumingMemoryBound(to: CInt.self))
      }
    }
    return ends
  }

  /// Gives the connection away.
  consuming func release() -> Int32 { descriptor.release() }

  /// Listens on a name in an open directory.
  ///
  /// - Throws: ``SystemError``: EADDRINUSE when the name is taken.
  static func listen(
    on name: String, in directory: borrowing FileDescriptor
  ) throws(SystemError) -> FileDescriptor {
    FileDescriptor(
      owning: try retrying("listen on", name) { escra_seqpacket_listen(directory.number, name) })
  }

  /// Takes a waiting connection; nil when there is none, or no descriptor to spare.
  ///
  /// One from another user is closed.
  ///
  /// The directory's mode keeps others out already; a descriptor that leaked would not.
  static func accept(from listener: borrowing FileDescriptor) -> ControlSocket? {
    while true {
      let number = escra_accept(listener.number)
      guard number >= 0 else {
        if errno == EINTR || errno == ECONNABORTED { continue }
        return nil
      }
      let socket = ControlSocket(owning: FileDescriptor(owning: number))
      if socket.peer?.user == geteuid() { return socket }
    }
  }

  /// Who is at the other end, as the kernel saw it when that was made: SO_PEERCRED.
  var peer: (pid: Int32, user: UInt32)? {
    var pid: pid_t = 0
    var user: uid_t = 0
    guard escra_peer_credentials(descriptor.number, &pid, &user) == 0 else { return nil }
    return (pid, user)
  }

  /// Sends one frame.
  ///
  /// A peer that has gone is no news here: MSG_NOSIGNAL.
  ///
  /// - Parameter message: What to say.
  /// - Returns: Whether the kernel took it.
  @discardableResult
  package func send(_ message: ControlMessage) -> Bool {
    message.bytes.withUnsafeBytes {
      Glibc.send(descriptor.number, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) == $0.count
    }
  }

  /// What came of listening.
  package enum Received: Equatable {
    /// A frame of ours.
    case message(ControlMessage)
    /// Bytes that are none.
    case nonsense
    /// Nothing yet.
    case nothing
    /// The peer has closed.
    case end
  }

  /// Takes one frame, without waiting.
  package func receive() -> Received {
    var bytes = [UInt8](
      repeating: 0, count: ControlMessage.size + ControlMessage.longestText + 1)
    let count = bytes.withUnsafeMutableBytes {
      recv(descriptor.number, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT))
    }
    if count == 0 { return .end }
    if count < 0 { return errno == EAGAIN || errno == EINTR ? .nothing : .end }
    return ControlMessage(bytes: Array(bytes.prefix(count))).map { .message($0) } ?? .nonsense
  }

  /// Waits for one frame.
  ///
  /// - Parameter milliseconds: For how long at the most; silence longer than this is death.
  /// - Returns: What came; ``Received/nothing`` when time ran out.
  package func receive(within milliseconds: Int32) -> Received {
    let deadline = monotonicNow() + Int64(milliseconds) * 1_000_000
    while true {
      let left = deadline - monotonicNow()
      guard left > 0 else { return .nothing }
      var entry = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
      if poll(&entry, 1, CInt(left / 1_000_000 + 1)) > 0 {
        let received = receive()
        if received != .nothing { return received }
      }
    }
  }
}

extension StateDirectory {
  /// Connects to the supervisor.
  ///
  /// - Throws: ``SystemError``: ENOENT or ECONNREFUSED when there is none.
  package func connect() throws(SystemError) -> ControlSocket {
    try ControlSocket(connectingTo: Self.socketName, in: descriptor)
  }

  /// Connects to the supervisor, if there is one.
  package func connectIfPossible() -> ControlSocket? {
    ControlSocket.ifListening(Self.socketName, in: descriptor)
  }
}
