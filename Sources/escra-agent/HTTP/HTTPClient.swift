// SPDX-License-Identifier: Apache-2.0
internal import CCurl
internal import Glibc

/// HTTP/1.1 by libcurl's multi interface, on the agent's loop: no thread, and no timer at rest.
final class HTTPClient {
  /// The largest response, in bytes: a ledger of 10,000 nodes has a tenth of it.
  static let largestBody = 8 << 20
  /// For how long a connection may be in the making, in milliseconds.
  static let connectPatience = 300

  fileprivate let loop: EventLoop
  private let security: TransportSecurity
  private let multi: OpaquePointer
  private var transfers: [OpaquePointer: HTTPTransfer] = [:]
  private var sockets: [Int32: UInt64] = [:]
  private var timer: EventLoop.Deadline?

  /// Makes a client; nil where libcurl has no memory.
  ///
  /// - Parameters:
  ///   - loop: Where it waits.
  ///   - security: How connections are protected.
  init?(loop: EventLoop, security: TransportSecurity) {
    self.loop = loop
    self.security = security
    guard curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK, let multi = curl_multi_init()
    else { return nil }
    self.multi = OpaquePointer(multi)
    _ = escra_curl_multi_set_callbacks(
      multi,
      { _, socket, what, context, _ in
        HTTPClient.of(context)?.watch(socket, what)
        return 0
      },
      { _, milliseconds, context in
        HTTPClient.of(context)?.arm(milliseconds)
        return 0
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  private static func of(_ context: UnsafeMutableRawPointer?) -> HTTPClient? {
    context.map { Unmanaged<HTTPClient>.fromOpaque($0).takeUnretainedValue() }
  }

  private var handle: UnsafeMutableRawPointer { UnsafeMutableRawPointer(multi) }

  /// Sends a request.
  ///
  /// - Parameters:
  ///   - request: The request.
  ///   - patience: When to give up, in milliseconds; nil for a stream, which ends when it breaks.
  ///   - onBytes: Gets the body of a stream, piece by piece; nil collects it.
  ///   - completion: Gets the outcome, once, unless the transfer is cancelled.
  /// - Returns: The transfer.
  @discardableResult
  func send(
    _ request: HTTPRequest, patience: Int?, onBytes: (([UInt8]) -> Void)? = nil,
    completion: @escaping (HTTPOutcome) -> Void
  ) -> HTTPTransfer {
    let transfer = HTTPTransfer(onBytes: onBytes, completion: completion)
    guard let easy = curl_easy_init() else {
      loop.at(0) { completion(.notSent("libcurl has no memory")) }
      return transfer
    }
    transfer.easy = OpaquePointer(easy)
    transfer.prepare(easy, request, patience: patience, security: security)
    transfers[OpaquePointer(easy)] = transfer
    let code = curl_multi_add_handle(handle, easy)
    if code != CURLM_OK {
      remove(OpaquePointer(easy))
      let text = String(cString: curl_multi_strerror(code))
      loop.at(0) { completion(.notSent(text)) }
    }
    return transfer
  }

  /// Gives a transfer up: its completion is not called.
  func cancel(_ transfer: HTTPTransfer) {
    guard let easy = transfer.easy, transfers[easy] != nil else { return }
    remove(easy)
  }

  private func remove(_ easy: OpaquePointer) {
    curl_multi_remove_handle(handle, UnsafeMutableRawPointer(easy))
    curl_easy_cleanup(UnsafeMutableRawPointer(easy))
    transfers.removeValue(forKey: easy)?.dispose()
  }

  // MARK: what libcurl asks for

  private func watch(_ socket: Int32, _ what: Int32) {
    if what == CURL_POLL_REMOVE {
      if let token = sockets.removeValue(forKey: socket) { loop.remove(socket, token: token) }
      return
    }
    let token = sockets[socket] ?? loop.makeToken()
    sockets[socket] = token
    // What cannot be watched ends by libcurl's own timeout.
    try? loop.set(
      socket, token: token, reads: what & CURL_POLL_IN != 0, writes: what & CURL_POLL_OUT != 0
    ) { [weak self] in self?.act(on: socket) }
  }

  private func arm(_ milliseconds: Int) {
    if let timer { loop.cancel(timer) }
    timer = nil
    guard milliseconds >= 0 else { return }
    timer = loop.at(loop.now + Int64(milliseconds) * 1_000_000) { [weak self] in
      self?.timer = nil
      self?.act(on: CURL_SOCKET_TIMEOUT)
    }
  }

  private func act(on socket: Int32) {
    var running: Int32 = 0
    curl_multi_socket_action(handle, socket, 0, &running)
    // From a callback of libcurl no transfer may be begun or given up, so pieces wait until now.
    for transfer in transfers.values where transfer.hasPieces { transfer.deliver() }
    finish()
  }

  private func finish() {
    var left: Int32 = 0
    while let message = curl_multi_info_read(handle, &left) {
      guard message.pointee.msg == CURLMSG_DONE, let raw = message.pointee.easy_handle,
        let transfer = transfers[OpaquePointer(raw)]
      else { continue }
      let outcome = transfer.outcome(of: escra_curl_result(message), raw)
      remove(OpaquePointer(raw))
      transfer.completion(outcome)
    }
  }
}

/// One request that is on its way.
final class HTTPTransfer {
  fileprivate var easy: OpaquePointer?
  fileprivate let completion: (HTTPOutcome) -> Void
  private let onBytes: (([UInt8]) -> Void)?
  private var body: [UInt8] = []
  fileprivate var hasPieces: Bool { onBytes != nil && !body.isEmpty }
  private var headers: UnsafeMutablePointer<curl_slist>?
  private var failureText: UnsafeMutablePointer<CChar>?

  fileprivate init(
    onBytes: (([UInt8]) -> Void)?, completion: @escaping (HTTPOutcome) -> Void
  ) {
    self.onBytes = onBytes
    self.completion = completion
  }

  fileprivate func prepare(
    _ easy: UnsafeMutableRawPointer, _ request: HTTPRequest, patience: Int?,
    security: TransportSecurity
  ) {
    escra_curl_set_text(easy, CURLOPT_URL, request.url)
    escra_curl_set_text(easy, CURLOPT_CUSTOMREQUEST, request.method)
    for line in request.headers + ["Expect:"] { headers = curl_slist_append(headers, line) }
    escra_curl_set_pointer(easy, CURLOPT_HTTPHEADER, headers)
    if !request.body.isEmpty {
      escra_curl_set_number(easy, CURLOPT_POSTFIELDSIZE, request.body.count)
      request.body.withUnsafeBytes {
        _ = escra_curl_set_text(
          easy, CURLOPT_COPYPOSTFIELDS, $0.baseAddress?.assumingMemoryBound(to: CChar.self))
      }
    }
    let numbers: [(CURLoption, Int)] = [
      (CURLOPT_NOSIGNAL, 1), (CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1)),
      (CURLOPT_CONNECTTIMEOUT_MS, HTTPClient.connectPatience),
      (CURLOPT_TIMEOUT_MS, patience ?? 0), (CURLOPT_TCP_NODELAY, 1), (CURLOPT_TCP_KEEPALIVE, 1),
      (CURLOPT_TCP_KEEPIDLE, 10), (CURLOPT_TCP_KEEPINTVL, 5),
    ]
    for (option, value) in numbers { escra_curl_set_number(easy, option, value) }
    escra_curl_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https")
    escra_curl_set_text(easy, CURLOPT_NOPROXY, "*")
    if let file = security.authority { escra_curl_set_text(easy, CURLOPT_CAINFO, file) }
    if let file = security.certificate { escra_curl_set_text(easy, CURLOPT_SSLCERT, file) }
    if let file = security.key { escra_curl_set_text(easy, CURLOPT_SSLKEY, file) }
    let text = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    text.pointee = 0
    failureText = text
    escra_curl_set_pointer(easy, CURLOPT_ERRORBUFFER, text)
    escra_curl_set_writer(
      easy,
      { bytes, size, count, context in
        guard let context else { return 0 }
        let transfer = Unmanaged<HTTPTransfer>.fromOpaque(context).takeUnretainedValue()
        return transfer.take(UnsafeRawBufferPointer(start: bytes, count: size * count))
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  /// - Returns: How many bytes were taken; fewer than there are ends the transfer.
  private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard body.count + bytes.count <= HTTPClient.largestBody else { return 0 }
    body += bytes
    return bytes.count
  }

  /// Hands what has come of a stream to who wants it.
  fileprivate func deliver() {
    let piece = body
    body = []
    onBytes?(piece)
  }

  fileprivate func outcome(
    of result: CURLcode, _ easy: UnsafeMutableRawPointer
  ) -> HTTPOutcome {
    if result == CURLE_OK {
      var status = 0
      escra_curl_get_number(easy, CURLINFO_RESPONSE_CODE, &status)
      return .response(status: status, body: body)
    }
    let said = failureText.map { String(cString: $0) } ?? ""
    let text = said.isEmpty ? String(cString: curl_easy_strerror(result)) : said
    // What libcurl has sent of the request: nothing before a connection and its TLS stand.
    var sent = 0
    escra_curl_get_number(easy, CURLINFO_REQUEST_SIZE, &sent)
    return sent == 0 ? .notSent(text) : .lost(text)
  }

  fileprivate func dispose() {
    easy = nil
    curl_slist_free_all(headers)
    headers = nil
    failureText?.deallocate()
    failureText = nil
  }
}
