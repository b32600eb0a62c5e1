// SPDX-License-Identifier: Apache-2.0
internal import OCISpec
internal import Quantities
internal import State

/// Requests to the endpoints of an engine: the one that answered last is asked first.
final class EngineConnection {
  /// How long a request may take, in milliseconds.
  static let patience = 450

  /// Requests that are on their way at once, each on a connection of its own; others wait.
  static let mostAtOnce = 8
  /// While no endpoint answers there is one request at a time, and as much time between two.
  private static let pause: Nanoseconds = 20_000_000

  let loop: EventLoop
  private let client: HTTPClient
  private var endpoints: Endpoints
  private(set) var status = ClusterStatus.Engine()
  private var isDown = false
  private var underWay = 0
  private var waiting: [(HTTPRequest, (String, HTTPOutcome) -> Void)] = []
  private var firstWaiting = 0
  private var notBefore: Nanoseconds = 0
  private var timer: EventLoop.Deadline?
  /// Called when an endpoint is left because it did not answer.
  var onLeave: ((String) -> Void)?

  init(kind: String, loop: EventLoop, client: HTTPClient, endpoints: Endpoints) {
    self.loop = loop
    self.client = client
    self.endpoints = endpoints
    status.kind = kind
    status.endpoint = endpoints.current
  }

  /// The endpoint that is asked next.
  var address: String { endpoints.current }

  /// How many there are.
  var count: Int { endpoints.addresses.count }

  /// Sends a request once, when its turn comes.
  ///
  /// - Parameters:
  ///   - request: With a path instead of a URL.
  ///   - done: Gets the endpoint and the outcome.
  func send(_ request: HTTPRequest, _ done: @escaping (String, HTTPOutcome) -> Void) {
    waiting.append((request, done))
    startNext()
  }

  private func startNext() {
    while firstWaiting < waiting.count, underWay < (isDown ? 1 : Self.mostAtOnce) {
      if isDown, loop.now < notBefore {
        timer =
          timer
          ?? loop.at(notBefore) { [weak self] in
            self?.timer = nil
            self?.startNext()
          }
        return
      }
      let (request, done) = waiting[firstWaiting]
      firstWaiting += 1
      if firstWaiting == waiting.count || firstWaiting > 1024 {
        waiting.removeFirst(firstWaiting)
        firstWaiting = 0
      }
      start(request, done)
    }
  }

  private func start(_ request: HTTPRequest, _ done: @escaping (String, HTTPOutcome) -> Void) {
    let address = address
    let start = loop.now
    underWay += 1
    status.requests += 1
    client.send(request.at(address), patience: Self.patience) { [weak self] outcome in
      guard let self else { return }
      self.underWay -= 1
      if case .response(let code, _) = outcome, code < 500 {
        self.note(address, since: start)
      } else {
        self.isDown = true
        self.notBefore = self.loop.now + Self.pause
      }
      done(address, outcome)
      self.startNext()
    }
  }

  /// Sends a request that changes nothing, to one endpoint after the other.
  ///
  /// - Parameters:
  ///   - request: With a path instead of a URL.
  ///   - read: Reads the answer; nil for one that is none.
  ///   - done: Gets what was read, or why not.
  func read<Answer>(
    _ request: HTTPRequest, _ read: @escaping (Int, [UInt8]) -> Answer?,
    _ done: @escaping (Result<Answer, EngineFailure>) -> Void
  ) {
    self.read(request, attempts: count, read, done)
  }

  private func read<Answer>(
    _ request: HTTPRequest, attempts: Int, _ read: @escaping (Int, [UInt8]) -> Answer?,
    _ done: @escaping (Result<Answer, EngineFailure>) -> Void
  ) {
    send(request) { [weak self] address, outcome in
      guard let self else { return }
      let complaint: String
      switch outcome {
      case .response(let status, let body):
        if let answer = read(status, body) { return done(.success(answer)) }
        complaint = engineComplaint(status, body)
      case .notSent(let text), .lost(let text): complaint = text
      }
      self.leave(address, complaint)
      guard attempts > 1 else {
        return done(.failure(EngineFailure(text: "\(address): \(complaint)")))
      }
      self.read(request, attempts: attempts - 1, read, done)
    }
  }

  /// Sends a swap: to the next endpoint only where nothing was sent to the one before.
  ///
  /// - Parameters:
  ///   - request: With a path instead of a URL.
  ///   - read: Reads the answer; nil for one that does not say what has happened.
  ///   - done: Gets the outcome.
  func swap(
    _ request: HTTPRequest, _ read: @escaping (Int, [UInt8]) -> LedgerSwap?,
    _ done: @escaping (LedgerSwap) -> Void
  ) {
    swap(request, attempts: count, read, done)
  }

  private func swap(
    _ request: HTTPRequest, attempts: Int, _ read: @escaping (Int, [UInt8]) -> LedgerSwap?,
    _ done: @escaping (LedgerSwap) -> Void
  ) {
    send(request) { [weak self] address, outcome in
      guard let self else { return }
      switch outcome {
      case .response(let status, let body):
        if let swap = read(status, body) { return done(swap) }
        let complaint = engineComplaint(status, body)
        self.leave(address, complaint)
        // These are refused before anything is proposed.
        let isRefused = [400, 401, 403, 404, 413, 422, 429].contains(status)
        let text = "\(address): \(complaint)"
        done(isRefused ? .refused(text) : .doubt(text))
      case .notSent(let text):
        self.leave(address, text)
        guard attempts > 1 else { return done(.refused("\(address): \(text)")) }
        self.swap(request, attempts: attempts - 1, read, done)
      case .lost(let text):
        self.leave(address, text)
        done(.doubt("\(address): \(text)"))
      }
    }
  }

  /// Opens a stream.
  ///
  /// - Returns: The transfer, and the endpoint.
  func stream(
    _ request: HTTPRequest, onBytes: @escaping ([UInt8]) -> Void,
    _ done: @escaping (HTTPOutcome) -> Void
  ) -> (HTTPTransfer, address: String) {
    let address = address
    let transfer = client.send(
      request.at(address), patience: nil, onBytes: onBytes, completion: done)
    return (transfer, address)
  }

  /// Closes a stream; its `done` is not called.
  func cancel(_ transfer: HTTPTransfer) { client.cancel(transfer) }

  /// Goes on to the next endpoint, without a word on the engine's health.
  func walkOn(from address: String) { endpoints.leave(address) }

  private func note(_ address: String, since start: Nanoseconds) {
    isDown = false
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
    onLeave?(address)
  }
}

/// Why no endpoint has answered.
struct EngineFailure: Error {
  let text: String
}

extension HTTPRequest {
  /// The same request, to an endpoint.
  func at(_ address: String) -> HTTPRequest {
    var request = self
    request.url = address + url
    return request
  }
}

/// What an engine's complaint says, in a clause.
func engineComplaint(_ status: Int, _ body: [UInt8]) -> String {
  if status == 200 { return "its answer cannot be read" }
  var said = ""
  if let json = JSONValue.ifValid(body) {
    said = json.text("message") ?? json.text("error") ?? ""
  }
  return said.isEmpty ? "HTTP status \(status)" : "HTTP status \(status): \(said.prefix(120))"
}
