// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// The socket of a supervisor: shims connect for a moment, the keeper for as long as it lives.
final class ControlSocketComponent: Component {
  private var conversations: Conversations
  private let poller: Poller
  /// The connection of the keeper.
  private var keeper: UInt64? {
    didSet { keeperChanged(keeper != nil) }
  }
  private let keeperChanged: (Bool) -> Void

  /// The token of the listening socket, below those of ``Conversations``.
  private static let listener: UInt64 = 0

  /// Takes over a listening socket.
  ///
  /// - Parameters:
  ///   - listener: The socket.
  ///   - poller: The component's.
  ///   - keeperChanged: Is told whether the keeper is connected.
  /// - Throws: ``SystemError``.
  init(
    _ listener: consuming FileDescriptor, _ poller: consuming Poller,
    keeperChanged: @escaping (Bool) -> Void = { _ in }
  ) throws(SystemError) {
    conversations = Conversations(listener: listener)
    try poller.addListener(conversations.listener.number, token: Self.listener)
    self.poller = poller
    self.keeperChanged = keeperChanged
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .readable(Self.listener): conversations.accept(poller)
    case .readable(let token): return hear(token)
    case .effect(.answer(let message, let token)): conversations.send(message, to: token)
    case .effect(.tellKeeper(let message)):
      if let keeper { conversations.send(message, to: keeper) }
    case .effect(.listen(let number)):
      conversations = Conversations(listener: FileDescriptor(owning: number))
      // The loop goes on without; the next supervisor listens.
      try? poller.addListener(number, token: Self.listener)
    default: break
    }
    return []
  }

  private func hear(_ token: UInt64) -> [Effect] {
    let message = conversations.hear(token, poller)
    let isConnected = conversations.contains(token)
    if token == keeper, !isConnected { keeper = nil }
    var effects: [Effect] = []
    switch message {
    case .keeperIsHere: keeper = token
    // Only the keeper can look at all groups.
    case .over where token != keeper: break
    case let message?: effects.append(.message(message, from: token))
    case nil: break
    }
    return isConnected ? effects : effects + [.disconnected(token)]
  }
}
