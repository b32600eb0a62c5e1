// SPDX-License-Identifier: Apache-2.0
internal import State

/// etcd as the ledger, by its JSON gateway.
final class EtcdLedger: Ledger {
  private let connection: EngineConnection
  private var stream: WatchStream?
  private var hint: ((LedgerHint) -> Void)?

  /// Makes a ledger; nothing is sent.
  init(loop: EventLoop, client: HTTPClient, endpoints: Endpoints) {
    connection = EngineConnection(kind: "etcd", loop: loop, client: client, endpoints: endpoints)
    stream = WatchStream(
      connection, request: { Self.request("/v3/watch", EtcdMessages.watch()) },
      onEnd: { _ in }, onLine: { [weak self] in self?.take($0) ?? .broken })
  }

  var status: ClusterStatus.Engine { connection.status }

  private static func request(_ path: String, _ body: [UInt8]) -> HTTPRequest {
    HTTPRequest(url: path, headers: ["Content-Type: application/json"], body: body)
  }

  func read(_ key: LedgerKey, _ done: @escaping (LedgerReading) -> Void) {
    connection.read(
      Self.request("/v3/kv/range", EtcdMessages.range(key)),
      { status, body in status == 200 ? EtcdMessages.reading(body) : nil },
      { (result: Result<LedgerReading, EngineFailure>) in
        switch result {
        case .success(let reading): done(reading)
        case .failure(let failure): done(.failed(failure.text))
        }
      })
  }

  func swap(
    _ key: LedgerKey, to bytes: [UInt8]?, expecting version: String?,
    _ done: @escaping (LedgerSwap) -> Void
  ) {
    connection.swap(
      Self.request("/v3/kv/txn", EtcdMessages.transaction(key, bytes, expecting: version)),
      { status, body in status == 200 ? EtcdMessages.swap(body, proposed: bytes) : nil }, done)
  }

  func watch(_ hint: @escaping (LedgerHint) -> Void) {
    self.hint = hint
    stream?.open()
  }

  func stopWatching() {
    hint = nil
    stream?.close()
  }

  func forget(_: LedgerKey) {}

  private func take(_ line: [UInt8]) -> WatchStream.Line {
    switch EtcdMessages.watchLine(line) {
    case .created:
      // What has changed before it stood is not told.
      hint?(.any)
    case .changed(let changes): for change in changes { hint?(.changed(change.key, change.now)) }
    case .ended: return .broken
    case .other: break
    }
    return .fine
  }
}
