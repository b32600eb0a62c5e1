// SPDX-License-Identifier: Apache-2.0
package import Application
internal import CLinux
internal import Glibc
package import Syscalls

/// One end of a connection between a member, or an operator, and the broker.
package struct ApplicationSocket: ~Copyable {
  /// The socket, for a poller.
  package let descriptor: FileDescriptor

  /// Takes over a connected socket, which does not wait.
  package init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Takes a waiting connection; nil when there is none.
  ///
  /// The directory's mode keeps others out already; a descriptor that leaked would not, and so one
  /// from another user is closed.
  package static func accept(from listener: borrowing FileDescriptor) -> ApplicationSocket? {
    while true {
      let number = escra_accept(listener.number)
      guard number >= 0 else {
        if errno == EINTR || errno == ECONNABORTED { continue }
        return nil
      }
      let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
      if socket.peer?.user == geteuid() { return socket }
    }
  }

  /// Who is at the other end, as the kernel saw it when that was made: SO_PEERCRED.
  package var peer: (pid: Int32, user: UInt32)? {
    var pid: pid_t = 0
    var user: uid_t = 0
    guard escra_peer_credentials(descriptor.number, &pid, &user) == 0 else { return nil }
    return (pid, user)
  }

  /// Sends one frame, without waiting.
  ///
  /// - Returns: Whether the kernel took it: not when the other end has gone, or does not read.
  package func send(_ message: ApplicationMessage) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: ApplicationMessage.size, alignment: 8) { buffer in
      message.encode(into: buffer)
      while true {
        let count = Glibc.send(
          descriptor.number, buffer.baseAddress, buffer.count, CInt(MSG_NOSIGNAL))
        if count >= 0 || errno != EINTR { return count == buffer.count }
      }
    }
  }

  /// What came of listening.
  package enum Received: Equatable {
    case message(ApplicationMessage)
    /// Bytes that are no message, and why.
    case nonsense(FrameError)
    /// Nothing yet.
    case nothing
    /// The other end has closed, and all that it had said was read.
    case end
  }

  /// Takes one frame, without waiting.
  package func receive() -> Received {
    withUnsafeTemporaryAllocation(byteCount: ApplicationMessage.size + 1, alignment: 8) { buffer in
      let count = recv(descriptor.number, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT))
      if count == 0 { return .end }
      if count < 0 { return errno == EAGAIN || errno == EINTR ? .nothing : .end }
      do throws(FrameError) {
        return .message(
          try ApplicationMessage(
            decoding: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count])))
      } catch {
        return .nonsense(error)
      }
    }
  }

  /// Gives the connection away.
  package consuming func release() -> Int32 { descriptor.release() }
}
