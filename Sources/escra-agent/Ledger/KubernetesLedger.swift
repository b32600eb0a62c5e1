// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import State
internal import Syscalls

/// The Kubernetes API as the ledger: objects of the custom resource `EscraApplication`.
final class KubernetesLedger: Ledger {
  private let connection: EngineConnection
  private let token: String?
  private var stream: WatchStream?
  private var hint: ((LedgerKey?) -> Void)?
  /// Where the watch goes on.
  private var version: String?

  /// Makes a ledger; nothing is sent.
  ///
  /// - Parameters:
  ///   - loop: Where it waits.
  ///   - client: What sends.
  ///   - endpoints: The API servers.
  ///   - token: The file of the bearer token, which is read for each request: a token of a service
  ///     account is replaced every hour.
  init(loop: EventLoop, client: HTTPClient, endpoints: Endpoints, token: String?) {
    connection = EngineConnection(
      kind: "kubernetes", loop: loop, client: client, endpoints: endpoints)
    self.token = token
    stream = WatchStream(
      connection, request: { [weak self] in self?.watchRequest ?? HTTPRequest(url: "/") },
      onEnd: { [weak self] in self?.end($0) }, onLine: { [weak self] in self?.take($0) ?? .broken })
  }

  var status: ClusterStatus.Engine { connection.status }

  private func request(_ method: String, _ path: String, _ body: [UInt8] = []) -> HTTPRequest {
    var headers = ["Accept: application/json"]
    if !body.isEmpty { headers.append("Content-Type: application/json") }
    if let token, let text = FileDescriptor.textIfReadable(of: token) {
      headers.append("Authorization: Bearer \(text.prefix { $0 != "\n" && $0 != "\r" })")
    }
    return HTTPRequest(method: method, url: path, headers: headers, body: body)
  }

  func read(_ key: LedgerKey, _ done: @escaping (LedgerReading) -> Void) {
    // Without a resourceVersion the answer is the newest object, read with a quorum.
    connection.read(
      request("GET", KubernetesMessages.path(key)), KubernetesMessages.reading,
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
    let request: HTTPRequest
    if let bytes {
      let object = KubernetesMessages.object(key, bytes, replacing: version)
      request =
        version == nil
        ? self.request("POST", KubernetesMessages.collection(key.namespace), object)
        : self.request("PUT", KubernetesMessages.path(key), object)
    } else {
      request = self.request(
        "DELETE", KubernetesMessages.path(key), KubernetesMessages.removal(of: version))
    }
    connection.swap(request, KubernetesMessages.swap, done)
  }

  // MARK: the watch

  func watch(_ hint: @escaping (LedgerKey?) -> Void) {
    self.hint = hint
    stream?.open()
  }

  func stopWatching() {
    hint = nil
    version = nil
    stream?.close()
  }

  private var watchRequest: HTTPRequest {
    request("GET", KubernetesMessages.watchPath(from: version))
  }

  private func end(_ status: Int?) {
    // With a version it goes on where it was; without one it begins with what there is.
    if status == 410 { version = nil }
    if version == nil { hint?(nil) }
  }

  private func take(_ line: [UInt8]) -> WatchStream.Line {
    switch KubernetesMessages.watchLine(line) {
    case .changed(let key, let version):
      self.version = version
      hint?(key)
    case .bookmark(let version): self.version = version
    case .expired:
      version = nil
      hint?(nil)
      return .broken
    case .ended: return .broken
    }
    return .fine
  }
}
