// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits
internal import Syscalls

/// etcd as the ledger, by its JSON gateway.
final class EtcdLedger: Ledger {
  /// How long a request may take, in milliseconds.
  static let patience = 450

  private let loop: EventLoop
  private let client: HTTPClient
  private var endpoints: Endpoints
  private(set) var status = ClusterStatus.Engine()

  private var hint: ((LedgerKey?) -> Void)?
  private var stream: HTTPTransfer?
  private var streamAddress = ""
  private var lines = LineSplitter()
  private var streamRetry: EventLoop.Deadline?
  private var streamFailures = 0

  /// Makes a ledger; nothing is sent.
  init(loop: EventLoop, client: HTTPClient, endpoints: Endpoints) {
    self.loop = loop
    self.client = client
    self.endpoints = endpoints
    status.kind = "etcd"
    status.endpoint = endpoints.current
  }

  func read(_ key: LedgerKey, _ done: @escaping (LedgerReading) -> Void) {
    read(EtcdMessages.range(key), attempts: endpoints.addresses.count, done)
  }

  private func read(
    _ body: [UInt8], attempts: Int, _ done: @escaping (LedgerReading) -> Void
  ) {
    ask("/v3/kv/range", body) { [weak self] address, outcome in
      guard let self else { return }
      let complaint: String
      switch outcome {
      case .response(200, let body):
        if let reading = EtcdMessages.reading(body) { return done(reading) }
        complaint = "its answer is not one of etcd's"
      case .response(let status, let body): complaint = EtcdMessages.complaint(status, body)
      case .notSent(let text), .lost(let text): complaint = text
      }
      self.leave(address, complaint)
      // A read changes nothing, so the next endpoint may be asked.
      guard attempts > 1 else { return done(.failed("\(address): \(complaint)")) }
      self.read(body, attempts: attempts - 1, done)
    }
  }

  func swap(
    _ key: LedgerKey, to bytes: [UInt8]?, expecting version: String?,
    _ done: @escaping (LedgerSwap) -> Void
  ) {
    swap(
      EtcdMessages.transaction(key, bytes, expecting: version), proposed: bytes,
      attempts: endpoints.addresses.count, done)
  }

  private func swap(
    _ body: [UInt8], proposed: [UInt8]?, attempts: Int, _ done: @escaping (LedgerSwap) -> Void
  ) {
    ask("/v3/kv/txn", body) { [weak self] address, outcome in
      guard let self else { return }
      switch outcome {
      case .response(200, let answer):
        if let swap = EtcdMessages.swap(answer, proposed: proposed) {
          return done(swap)
        }
        self.leave(address, "its answer is not one of etcd's")
        done(.doubt("\(address): its answer is not one of etcd's"))
      case .response(let status, let answer):
        let complaint = EtcdMessages.complaint(status, answer)
        self.leave(address, complaint)
        // The request was understood and refused before it was proposed.
        let isRefused = [400, 401, 403, 404].contains(status)
        done(
          isRefused ? .refused("\(address): \(complaint)") : .doubt("\(address): \(complaint)"))
      case .notSent(let text):
        self.leave(address, text)
        guard attempts > 1 else { return done(.refused("\(address): \(text)")) }
        self.swap(body, proposed: proposed, attempts: attempts - 1, done)
      case .lost(let text):
        self.leave(address, text)
        done(.doubt("\(address): \(text)"))
      }
    }
  }

  private func ask(
    _ path: String, _ body: [UInt8], _ done: @escaping (String, HTTPOutcome) -> Void
  ) {
    let address = endpoints.current
    let start = loop.now
    status.requests += 1
    client.send(
      HTTPRequest(
        url: address + path, headers: ["Content-Type: application/json"], body: body),
      patience: Self.patience
    ) { [weak self] outcome in
      self?.note(outcome, address, since: start)
      done(address, outcome)
    }
  }

  private func note(_ outcome: HTTPOutcome, _ address: String, since start: Nanoseconds) {
    guard case .response(200, _) = outcome else { return }
    status.latency += loop.now - start
    status.endpoint = address
    status.isReachable = true
    status.complaint = nil
  }

  private func leave(_ address: String, _ complaint: String) {
    status.failures += 1
    status.isReachable = false
    status.complaint = "\(address): \(complaint)"
    endpoints.leave(address)
    // A member that is cut off says nothing to its watchers, and no error either.
    if stream != nil, streamAddress == address { reopenStream(in: 0) }
  }

  // MARK: the watch

  func watch(_ hint: @escaping (LedgerKey?) -> Void) {
    self.hint = hint
    if stream == nil && streamRetry == nil { openStream() }
  }

  func stopWatching() {
    hint = nil
    closeStream()
  }

  private func closeStream() {
    if let stream { client.cancel(stream) }
    stream = nil
    if let streamRetry { loop.cancel(streamRetry) }
    streamRetry = nil
  }

  private func openStream() {
    closeStream()
    guard hint != nil else { return }
    lines = LineSplitter()
    let address = endpoints.current
    streamAddress = address
    stream = client.send(
      HTTPRequest(
        url: address + "/v3/watch", headers: ["Content-Type: application/json"],
        body: EtcdMessages.watch()),
      patience: nil, onBytes: { [weak self] in self?.take($0) }
    ) { [weak self] _ in
      guard let self else { return }
      self.stream = nil
      self.endpoints.leave(address)
      self.reopenStream(in: min(1000, 20 << min(self.streamFailures, 6)))
    }
  }

  private func reopenStream(in milliseconds: Int) {
    closeStream()
    guard hint != nil else { return }
    streamFailures += 1
    streamRetry = loop.at(loop.now + Int64(milliseconds) * 1_000_000) { [weak self] in
      self?.streamRetry = nil
      self?.openStream()
    }
  }

  private func take(_ bytes: [UInt8]) {
    for line in lines.take(bytes) {
      switch EtcdMessages.watchLine(line) {
      case .created:
        streamFailures = 0
        // What changed before it stood is not told.
        hint?(nil)
      case .changed(let keys): for key in keys { hint?(key) }
      case .ended:
        // A transfer must not be given up from its own callback.
        loop.at(0) { [weak self] in self?.reopenStream(in: 20) }
        return
      case .other: break
      }
    }
  }
}
