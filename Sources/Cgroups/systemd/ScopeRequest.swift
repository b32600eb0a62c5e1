// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import Syscalls

/// Asks systemd for a scope of this process's own, in a slice of ours.
///
/// An engine's unit ends with everything in its group (KillMode=, systemd.kill(5)), and who
/// supervises must outlive the engine. One message over systemd's own socket, which root has
/// without any bus daemon: StartTransientUnit of org.freedesktop.systemd1(5). Sent at once and
/// waited for later, so that nobody is held up; scope and slice go with the last process in them.
///
/// Whoever has asked must not end before it is in: systemd answers when the job is queued. Moving a
/// process that has ended and is not reaped succeeds and does nothing (cgroup_migrate_add_task,
/// kernel/cgroup/cgroup.c), so the group is never populated, never says that it is empty, and the
/// scope is running for good. JobRemoved says that the job is done, unasked for on this socket.
package struct ScopeRequest: ~Copyable {
  /// What came of it.
  package enum Outcome: Equatable {
    /// The answer has not come yet.
    case pending
    /// This process is in it.
    case granted
    /// systemd refused, with the name of its error.
    case refused(String)
    /// There is no such unit.
    case unknown
  }

  private static let noSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"

  /// The connection, for a poller.
  package let socket: FileDescriptor
  private var received: [UInt8] = []
  private var isAccepted = false
  /// The object path of the job that makes the scope, as it came; empty until systemd says it.
  private var job: [UInt8] = []

  private static let directory = "/run/systemd/system"
  private static let address = "/run/systemd/private"
  /// More than this is none of the answers that we wait for.
  private static let limit = 1 << 20

  /// Sends the request; nil where no systemd runs, or it does not take messages from us.
  ///
  /// - Parameters:
  ///   - role: The name of this process: escra-supervisor, escra-keeper.
  ///   - subject: What for, for people.
  package init?(_ role: String, for subject: String) {
    self.init(saying: Self.conversation(role, for: subject, pid: getpid()))
  }

  /// Calls one method of systemd's, which makes a job; nil where no systemd runs, or it takes no messages from us.
  ///
  /// - Parameters:
  ///   - member: The method.
  ///   - signature: Of its values.
  ///   - body: The values.
  init?(calling member: String, signature: String, body: DBusBytes) {
    self.init(
      saying: Self.greeting
        + DBusBytes.call(
          member, serial: 2, destination: "org.freedesktop.systemd1",
          path: "/org/freedesktop/systemd1", interface: "org.freedesktop.systemd1.Manager",
          signature: signature, body: body))
  }

  private init?(saying bytes: [UInt8]) {
    guard access(Self.directory, F_OK) == 0 else { return nil }
    let socket = FileDescriptor(owning: escra_stream_connect(Self.address))
    var pid: pid_t = 0
    var user: uid_t = 0
    // Only who sees us in the same pid namespace can move us: it is process 1 of ours.
    guard socket.isOpen, escra_peer_credentials(socket.number, &pid, &user) == 0, pid == 1,
      (try? socket.write(bytes)) != nil
    else { return nil }
    self.socket = socket
  }

  /// Takes over a connection on which everything has been said.
  init(connected socket: consuming FileDescriptor) { self.socket = socket }

  /// Everything that is to be said, in one go: who we are, and the call twice.
  ///
  /// The first one makes the slice, too, and has it end with the last scope. It fails where the
  /// slice is there already, and where it does not, the second one fails.
  static func conversation(_ role: String, for subject: String, pid: Int32) -> [UInt8] {
    let name = "\(role)-\(pid).scope"
    let isPrintable = subject.utf8.allSatisfy { (0x20..<0x7f).contains($0) }
    let scope: [(String, DBusBytes.Value)] = [
      ("Description", .text("\(role) " + (isPrintable ? subject : ""))),
      ("PIDs", .numbers([UInt32(bitPattern: pid)])),
      ("Slice", .text(slice)),
      ("CollectMode", .text("inactive-or-failed")),
    ]
    var bytes = greeting
    for serial: UInt32 in [1, 2] {
      var body = DBusBytes()
      body.append(name)
      // A slice that is about to end is started again.
      body.append("replace")
      body.append(properties: scope)
      body.appendStructures(serial == 1 ? [slice] : []) { bytes, slice in
        bytes.append(slice)
        bytes.append(properties: [
          ("Description", .text("Supervisors of containers")), ("StopWhenUnneeded", .flag(true)),
        ])
      }
      bytes += DBusBytes.call(
        "StartTransientUnit", serial: serial, destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1", interface: "org.freedesktop.systemd1.Manager",
        signature: "ssa(sv)a(sa(sv))", body: body)
    }
    return bytes
  }

  /// EXTERNAL: the socket says who we are; the user id in ASCII, in hexadecimal digits.
  private static var greeting: [UInt8] {
    let digits = "\(geteuid())".utf8.map { "3" + String($0 - UInt8(ascii: "0")) }.joined()
    return [0] + "AUTH EXTERNAL \(digits)\r\nBEGIN\r\n".utf8
  }

  private static let slice = "escra.slice"

  /// Takes what has come, without waiting.
  package mutating func receive() -> Outcome {
    while true {
      let room = 16_384
      var failure: Int32 = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
        let size = recv(socket.number, buffer.baseAddress, room, CInt(MSG_DONTWAIT))
        if size < 0 { failure = errno }
        count = max(0, size)
      }
      if failure == EINTR { continue }
      if failure == EAGAIN { return .pending }
      if chunk.isEmpty { return .refused("it hung up") }
      let outcome = hear(chunk)
      if outcome != .pending { return outcome }
    }
  }

  /// Takes bytes that have come.
  mutating func hear(_ bytes: [UInt8]) -> Outcome {
    received += bytes
    if received.count > Self.limit { return .refused("it never ends") }
    if !isAccepted {
      guard let end = received.firstIndex(of: UInt8(ascii: "\n")) else { return .pending }
      guard received.starts(with: "OK ".utf8) else { return .refused("not authenticated") }
      received.removeFirst(end + 1)
      isAccepted = true
    }
    do throws(DBusReply.Nonsense) {
      while let reply = try DBusReply.take(from: &received) {
        switch (reply.kind, reply.answers) {
        case (.result, 1), (.result, 2): job = reply.body
        case (.failure, 2) where reply.error == Self.noSuchUnit: return .unknown
        // Behind the answer to the first, which only says whether the slice was there.
        case (.failure, 2) where job.isEmpty: return .refused(reply.error)
        case (.signal, _) where reply.member == "JobRemoved" && !job.isEmpty:
          // A number, the job, the unit, and how it ended.
          guard reply.body.dropFirst(4).starts(with: job) else { break }
          let result = reply.texts(from: 4).dropFirst(2).first ?? ""
          return result == "done" ? .granted : .refused("its job ended as \(result)")
        default: break
        }
      }
    } catch { return .refused("it speaks no D-Bus") }
    return .pending
  }

  /// Waits for the answer.
  ///
  /// - Parameter milliseconds: For how long at the most.
  /// - Returns: ``Outcome/pending`` when time ran out; it may still be granted.
  package mutating func answer(within milliseconds: Int32) -> Outcome {
    let deadline = monotonicNow() + Int64(milliseconds) * 1_000_000
    while true {
      let outcome = receive()
      let left = deadline - monotonicNow()
      guard outcome == .pending, left > 0 else { return outcome }
      var entry = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
      _ = poll(&entry, 1, CInt(left / 1_000_000 + 1))
    }
  }
}
