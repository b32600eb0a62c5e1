// SPDX-License-Identifier: Apache-2.0
package import Application
internal import Glibc
package import Quantities
package import State
internal import Syscalls

/// A question to the broker of an application, from a process that is no member of it.
package enum ApplicationCall {
  /// Asks, and waits for the answer.
  ///
  /// - Parameters:
  ///   - body: ``ApplicationMessage/Body/status`` or ``ApplicationMessage/Body/set(_:)``.
  ///   - resource: About which resource.
  ///   - room: The application's.
  ///   - patience: For how long to wait, in nanoseconds.
  /// - Returns: The answer; nil where there is no broker, or it does not say anything.
  package static func ask(
    _ body: ApplicationMessage.Body, about resource: SharedResource,
    in room: borrowing ApplicationDirectory, patience: Nanoseconds
  ) -> ApplicationMessage.Body? {
    let deadline = monotonicNow() + patience
    while monotonicNow() < deadline {
      // Between one broker and the next there is none for a moment.
      guard let connected = try? room.connect() else {
        usleep(2000)
        continue
      }
      let socket = ApplicationSocket(owning: connected)
      guard socket.send(ApplicationMessage(resource: resource, epoch: 0, nonce: 0, body: body))
      else { continue }
      if let answer = answer(from: socket, until: deadline) { return answer }
    }
    return nil
  }

  private static func answer(
    from socket: borrowing ApplicationSocket, until deadline: Nanoseconds
  ) -> ApplicationMessage.Body? {
    while true {
      let left = deadline - monotonicNow()
      guard left > 0 else { return nil }
      var entry = pollfd(fd: socket.descriptor.number, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, CInt(left / 1_000_000 + 1)) > 0 else { continue }
      switch socket.receive() {
      case .message(let message): return message.body
      case .nothing: continue
      case .nonsense, .end: return nil
      }
    }
  }
}
