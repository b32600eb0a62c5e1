// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The agent's connection to the broker of one application, which it makes anew when it breaks.
final class BrokerConnection {
  private let loop: EventLoop
  private let room: String
  private let onOpen: () -> Void
  private let onMessage: (ApplicationMessage) -> Void
  private let onClose: () -> Void

  private var socket: ApplicationSocket?
  private var token: UInt64 = 0
  private var retry: EventLoop.Deadline?
  private var failures = 0

  /// After a broker has died the next one is there within milliseconds.
  private static let firstRetry: Nanoseconds = 2_000_000
  private static let lastRetry: Nanoseconds = 1_000_000_000

  /// Makes a connection that is closed.
  ///
  /// - Parameters:
  ///   - loop: Where it waits.
  ///   - room: The application's directory.
  ///   - onOpen: Called when it is open.
  ///   - onMessage: Gets each message.
  ///   - onClose: Called when it is open no more.
  init(
    loop: EventLoop, room: String, onOpen: @escaping () -> Void,
    onMessage: @escaping (ApplicationMessage) -> Void, onClose: @escaping () -> Void
  ) {
    self.loop = loop
    self.room = room
    self.onOpen = onOpen
    self.onMessage = onMessage
    self.onClose = onClose
  }

  /// Whether it is open.
  var isOpen: Bool { socket != nil }

  /// Connects, now and later again if there is no broker yet.
  func connect() {
    guard socket == nil else { return }
    cancelRetry()
    do throws(SystemError) {
      let socket = ApplicationSocket(
        owning: try ApplicationDirectory(opening: room).connect())
      token = try loop.add(socket.descriptor.number) { [weak self] in self?.receive() }
      self.socket = consume socket
    } catch {
      failures += 1
      let pause = min(Self.lastRetry, Self.firstRetry << min(failures, 10))
      retry = loop.at(loop.now + pause) { [weak self] in self?.connect() }
      return
    }
    failures = 0
    onOpen()
  }

  /// Closes it, for good.
  func close() {
    cancelRetry()
    drop()
  }

  private func cancelRetry() {
    if let retry { loop.cancel(retry) }
    retry = nil
  }

  private func drop() {
    guard let socket = socket.take() else { return }
    loop.remove(socket.descriptor.number, token: token)
  }

  /// Sends one message; a broker that does not take it is left.
  func send(_ message: ApplicationMessage) {
    guard socket != nil, socket?.send(message) != true else { return }
    // Later: who sends may be in the middle of something.
    loop.at(0) { [weak self] in self?.lose() }
  }

  private func lose() {
    guard socket != nil else { return }
    drop()
    onClose()
    connect()
  }

  private func receive() {
    while socket != nil {
      switch socket?.receive() {
      case .message(let message)?: onMessage(message)
      case .nonsense?: continue
      case .nothing?: return
      case .end?, nil: return lose()
      }
    }
  }
}
