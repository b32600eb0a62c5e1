// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// Those who have connected to a supervisor: shims for a moment, the keeper for as long as it lives.
final class Conversations {
  let listener: FileDescriptor
  private var clients: [Int32] = []

  /// The least token that a connection has in the poller; all below are the supervisor's own.
  private static let token: UInt64 = 1 << 32
  /// More than this many at once are turned away.
  private static let limit = 64

  /// Takes over a listening socket.
  init(listener: consuming FileDescriptor) { self.listener = listener }

  /// Takes all waiting connections; without a descriptor to spare they wait for the next call.
  func accept(_ poller: borrowing Poller) {
    while let client = ControlSocket.accept(from: listener) {
      let number = client.release()
      if clients.count < Self.limit,
        poller.addIfPossible(number, token: Self.token + UInt64(number))
      {
        clients.append(number)
      } else {
        close(number)
      }
    }
  }

  /// Says something to one of them, if it is still there.
  func send(_ message: ControlMessage, to token: UInt64) {
    guard contains(token) else { return }
    let socket = ControlSocket(owning: FileDescriptor(owning: Int32(token - Self.token)))
    socket.send(message)
    _ = socket.release()
  }

  /// Whether one of them is still there.
  func contains(_ token: UInt64) -> Bool { clients.contains(Int32(token - Self.token)) }

  /// What one of them says.
  ///
  /// - Parameters:
  ///   - token: Its token in the poller.
  ///   - poller: Where connections are listened to.
  ///   - answer: What to say to it, if anything.
  /// - Returns: The message; nil where there was none, or the other end has gone.
  @discardableResult
  func hear(
    _ token: UInt64, _ poller: borrowing Poller,
    answer: (ControlMessage) -> ControlMessage? = { _ in nil }
  ) -> ControlMessage? {
    let number = Int32(token - Self.token)
    let socket = ControlSocket(owning: FileDescriptor(owning: number))
    switch socket.receive() {
    case .message(let message):
      if let answer = answer(message) { socket.send(answer) }
      // The conversation goes on; the descriptor stays ours.
      _ = socket.release()
      return message
    case .nothing, .nonsense:
      _ = socket.release()
    case .end:
      clients.removeAll { $0 == number }
      _ = consume socket
      // There is a descriptor to spare now.
      accept(poller)
    }
    return nil
  }
}
