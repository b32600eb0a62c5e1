// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Syscalls

/// Where metrics are served: a place that only processes of this machine reach.
struct ListenAddress: Equatable {
  /// The Unix socket; nil for a TCP port.
  let path: String?
  /// What bind(2) takes.
  let address: [UInt8]

  /// Reads `unix:/PATH`, `127.x.x.x:PORT` or `[::1]:PORT`.
  ///
  /// - Throws: ``Complaint``, which says what to write.
  init(typed text: String) throws(Complaint) {
    let advice = "write unix:/PATH, 127.0.0.1:PORT or [::1]:PORT"
    func family(_ number: CInt) -> [UInt8] {
      withUnsafeBytes(of: sa_family_t(number)) { Array($0) }
    }
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      // sun_path of unix(7) has 108 bytes, the last one is 0.
      guard path.hasPrefix("/"), path.utf8.count < 108 else {
        throw Complaint(
          "--listen \"\(text)\" names no absolute path of at most 107 bytes; \(advice)")
      }
      self.path = path
      address = family(AF_UNIX) + Array(path.utf8) + [0]
      return
    }
    path = nil
    let colon = text.lastIndex(of: ":") ?? text.endIndex
    guard let port = UInt16(text[colon...].dropFirst()), port > 0 else {
      throw Complaint("--listen \"\(text)\" has no port from 1 to 65535; \(advice)")
    }
    let portBytes = withUnsafeBytes(of: port.bigEndian) { Array($0) }
    let host = String(text[..<colon])
    var ipv4 = [UInt8](repeating: 0, count: 4)
    // ip(7) and ipv6(7) have the layouts.
    if inet_pton(AF_INET, host, &ipv4) == 1, ipv4[0] == 127 {
      address = family(AF_INET) + portBytes + ipv4 + [UInt8](repeating: 0, count: 8)
    } else if host == "[::1]" {
      let zeros = [UInt8](repeating: 0, count: 4)
      let loopback = [UInt8](repeating: 0, count: 15) + [1]
      address = family(AF_INET6) + portBytes + zeros + loopback + zeros
    } else {
      throw Complaint(
        "--listen \"\(text)\" is not a loopback address, and metrics are served to this machine "
          + "alone; \(advice)")
    }
  }

  /// Listens there, without blocking; a Unix socket that no process listens on is replaced.
  ///
  /// - Throws: ``Complaint``: another process listens there, or a file is in the way.
  func listen() throws(Complaint) -> FileDescriptor {
    if let path, let status = FileStatus.ifThere(path) {
      guard status.mode & S_IFMT == S_IFSOCK else {
        throw Complaint("\(path) is not a socket; remove it or name another path")
      }
      let other = FileDescriptor(owning: escra_stream_connect(path))
      guard !other.isOpen, errno == ECONNREFUSED else {
        throw Complaint("another process listens on \(path)")
      }
      unlink(path)
    }
    let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let family = address.withUnsafeBytes { $0.loadUnaligned(as: sa_family_t.self) }
    let subject = path ?? "that port"
    do throws(SystemError) {
      let socket = FileDescriptor(
        owning: try retrying("make", "a socket") { Glibc.socket(CInt(family), kind, 0) })
      // A port is free again at once; for a Unix socket that has no meaning.
      var yes: CInt = 1
      _ = setsockopt(
        socket.number, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<CInt>.size))
      try retrying("listen on", subject) {
        address.withUnsafeBytes {
          bind(
            socket.number, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self),
            socklen_t($0.count))
        }
      }
      try retrying("listen on", subject) { Glibc.listen(socket.number, SOMAXCONN) }
      return socket
    } catch { throw Complaint(error.description) }
  }
}
