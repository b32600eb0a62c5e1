// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import State
internal import Syscalls

/// The Kubernetes API as the ledger: objects of the custom resource `EscraApplication`.
final class KubernetesLedger: Ledger {
  private let connection: EngineConnection
  private let token: String?
  private var stream: WatchStream?
  private var hint: ((LedgerHint) -> Void)?
  /// The objects of this node's applications as they were last seen: a swap changes the ledger alone,
  /// and leaves labels, annotations and what else there is as it was.
  private var objects: [LedgerKey: [KubernetesObject]] = [:]
  /// A watch can be late: so many versions of an object are kept.
  private static let mostVersions = 3
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
      request("GET", KubernetesMessages.path(key)),
      { [weak self] status, body in
        let reading = KubernetesMessages.reading(status, body)
        if let reading { self?.keep(key, reading, status == 200 ? body : []) }
        return reading
      },
      { (result: Result<LedgerReading, EngineFailure>) in
        switch result {
        case .success(let reading): done(reading)
        case .failure(let failure): done(.failed(failure.text))
        }
      })
  }

  private func keep(_ key: LedgerKey, _ reading: LedgerReading, _ body: [UInt8]) {
    if case .found(_, let version) = reading { keep(key, version, body) } else { forget(key) }
  }

  private func keep(_ key: LedgerKey, _ version: String, _ body: [UInt8]) {
    var versions = objects[key] ?? []
    versions.removeAll { $0.version == version }
    versions.append(KubernetesObject(version: version, json: body))
    objects[key] = versions.suffix(Self.mostVersions)
  }

  func forget(_ key: LedgerKey) { objects[key] = nil }

  func swap(
    _ key: LedgerKey, to bytes: [UInt8]?, expecting version: String?,
    _ done: @escaping (LedgerSwap) -> Void
  ) {
    let request: HTTPRequest
    if let bytes {
      if let version {
        guard let old = objects[key]?.last(where: { $0.version == version }),
          let object = KubernetesMessages.object(old.json, with: bytes)
        else {
          // Another version was seen meanwhile, so this swap cannot succeed.
          connection.loop.at(0) { done(.conflict(nil)) }
          return
        }
        request = self.request("PUT", KubernetesMessages.path(key), object)
      } else {
        request = self.request(
          "POST", KubernetesMessages.collection(key.namespace),
          KubernetesMessages.object(key, bytes))
      }
    } else {
      request = self.request(
        "DELETE", KubernetesMessages.path(key), KubernetesMessages.removal(of: version))
    }
    connection.swap(
      request,
      { [weak self] status, body in
        let swap = KubernetesMessages.swap(status, body)
        if case .succeeded(let version)? = swap {
          if bytes == nil { self?.forget(key) } else { self?.keep(key, version, body) }
        }
        return swap
      }, done)
  }

  // MARK: the watch

  func watch(_ hint: @escaping (LedgerHint) -> Void) {
    self.hint = hint
    stream?.open()
  }

  func stopWatching() {
    hint = nil
    version = nil
    objects = [:]
    stream?.close()
  }

  private var watchRequest: HTTPRequest {
    request("GET", KubernetesMessages.watchPath(from: version))
  }

  private func end(_ status: Int?) {
    // With a version it goes on where it was; without one it begins with what there is.
    if status == 410 { version = nil }
    if version == nil { hint?(.any) }
  }

  private func take(_ line: [UInt8]) -> WatchStream.Line {
    switch KubernetesMessages.watchLine(line) {
    case .changed(let key, let version, let ledger):
      self.version = version
      // Only what is read is kept: most objects are of applications that are not on this node.
      guard let ledger, objects[key] != nil,
        let object = KubernetesMessages.object(ofWatch: line)
      else {
        hint?(.changed(key, nil))
        break
      }
      keep(key, version, object)
      hint?(.changed(key, .found(ledger, version: version)))
    case .bookmark(let version): self.version = version
    case .expired:
      version = nil
      hint?(.any)
      return .broken
    case .ended: return .broken
    }
    return .fine
  }
}
