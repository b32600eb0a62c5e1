// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Quantities
internal import Syscalls

/// An answer to one HTTP request: `GET /metrics`, or what was wrong with it.
enum MetricsAnswer: Hashable {
  case metrics(MetricFormat, hasBody: Bool)
  case failure(String)

  /// Judges the head of a request; nil as long as it is not complete.
  init?(to head: [UInt8]) {
    // A line feed alone may end a line (RFC 9112, 2.2).
    let bytes = head.filter { $0 != UInt8(ascii: "\r") }
    guard zip(bytes, bytes.dropFirst()).contains(where: { $0 == 10 && $1 == 10 }) else {
      guard head.count >= Self.limit else { return nil }
      self = .failure("431 Request Header Fields Too Large")
      return
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    let words = lines.first?.split(separator: " ") ?? []
    guard words.count == 3, words[2].hasPrefix("HTTP/1.") else {
      self = .failure("400 Bad Request")
      return
    }
    guard words[0] == "GET" || words[0] == "HEAD" else {
      self = .failure("405 Method Not Allowed")
      return
    }
    guard words[1] == "/metrics" || words[1].hasPrefix("/metrics?") else {
      self = .failure("404 Not Found")
      return
    }
    let accepts = lines.dropFirst().contains {
      let line = $0.lowercased()
      return line.hasPrefix("accept:") && line.contains("application/openmetrics-text")
    }
    self = .metrics(accepts ? .openMetrics : .prometheus, hasBody: words[0] == "GET")
  }

  /// The longest head of a request that is read.
  static let limit = 8192

  /// The bytes of the answer.
  ///
  /// - Parameter metrics: Makes the text of the metrics.
  /// - Returns: Head and body.
  func bytes(_ metrics: (MetricFormat) -> [UInt8]) -> [UInt8] {
    let (status, type, body, hasBody): (String, String, [UInt8], Bool)
    switch self {
    case .metrics(let format, let wants):
      (status, type, body, hasBody) = ("200 OK", format.contentType, metrics(format), wants)
    case .failure(let why):
      (status, type, hasBody) = (why, "text/plain; charset=utf-8", true)
      body = Array("\(why): GET /metrics is all there is.\n".utf8)
    }
    let allow = status.hasPrefix("405") ? "Allow: GET, HEAD\r\n" : ""
    let head =
      "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.count)\r\n\(allow)"
      + "Connection: close\r\n\r\n"
    return Array(head.utf8) + (hasBody ? body : [])
  }
}

/// Answers scrapers over HTTP, one request a connection, in one thread.
///
/// Clients are bounded in number, in time and in what they may send. A full server closes its oldest
/// connection for a new one, so that clients which say nothing keep no scraper out.
final class MetricsServer {
  /// Connections at once.
  static let most = 64
  /// Nanoseconds that a client has to send its request and take the answer.
  static let patience: Nanoseconds = 10_000_000_000
  /// Nanoseconds for which an answer is not made anew: many requests cost as much as few.
  static let freshness: Nanoseconds = 1_000_000_000

  private final class Connection {
    let socket: FileDescriptor
    let deadline: Nanoseconds
    var request: [UInt8] = []
    var answer: [UInt8]?
    var sent = 0

    init(owning socket: consuming FileDescriptor, until deadline: Nanoseconds) {
      self.socket = socket
      self.deadline = deadline
    }
  }

  private let listener: FileDescriptor
  private let render: () -> NodeMetrics
  /// The oldest first.
  private var connections: [Connection] = []
  /// The last answer of each kind, which all that ask within a second share.
  private var answers: [MetricsAnswer: (time: Nanoseconds, bytes: [UInt8])] = [:]

  /// Serves on a listening socket.
  ///
  /// - Parameters:
  ///   - listener: The socket.
  ///   - render: Makes the metrics.
  init(on listener: consuming FileDescriptor, render: @escaping () -> NodeMetrics) {
    self.listener = listener
    self.render = render
  }

  /// Serves until a signal asks for the end: SIGTERM, SIGINT or SIGHUP.
  func run() throws(SystemError) {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&mask, signal) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    let signals = FileDescriptor(
      owning: try retrying("make", "a signal descriptor") {
        signalfd(-1, &mask, CInt(SFD_CLOEXEC))
      })
    while true {
      var descriptors = [signals.number, listener.number].map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      descriptors += connections.map {
        pollfd(
          fd: $0.socket.number, events: Int16($0.answer == nil ? POLLIN : POLLOUT), revents: 0)
      }
      let wait = connections.first.map { max(0, $0.deadline - monotonicNow()) / 1_000_000 + 1 }
      try retrying("wait for", "connections") {
        poll(&descriptors, nfds_t(descriptors.count), CInt(wait ?? -1))
      }
      if descriptors[0].revents != 0 { return }
      let now = monotonicNow()
      connections = zip(connections, descriptors.dropFirst(2)).compactMap {
        $0.deadline > now && ($1.revents == 0 || advance($0)) ? $0 : nil
      }
      if descriptors[1].revents != 0 { accept(at: now) }
    }
  }

  /// Accepts what waits, as many at once as there may be.
  private func accept(at now: Nanoseconds) {
    for _ in 0..<Self.most {
      let socket = FileDescriptor(owning: escra_accept(listener.number))
      guard socket.isOpen else {
        // Without a free descriptor the connection would be reported again at once.
        if errno == EMFILE || errno == ENFILE { usleep(100_000) }
        return
      }
      if connections.count == Self.most { connections.removeFirst() }
      connections.append(Connection(owning: socket, until: now + Self.patience))
    }
  }

  /// Reads what has come of a request, or writes what the client takes of its answer.
  ///
  /// - Returns: Whether the connection goes on.
  private func advance(_ connection: Connection) -> Bool {
    let number = connection.socket.number
    guard let answer = connection.answer else {
      var chunk = [UInt8](repeating: 0, count: MetricsAnswer.limit)
      let count = recv(number, &chunk, chunk.count, 0)
      if count < 0 { return errno == EAGAIN || errno == EINTR }
      connection.request += chunk.prefix(count)
      if let answer = MetricsAnswer(to: connection.request) {
        connection.answer = bytes(of: answer)
      }
      return count > 0
    }
    let flags = CInt(MSG_NOSIGNAL)
    let count = answer[connection.sent...].withUnsafeBytes {
      send(number, $0.baseAddress, $0.count, flags)
    }
    if count < 0 { return errno == EAGAIN || errno == EINTR }
    connection.sent += count
    return connection.sent < answer.count
  }

  private func bytes(of answer: MetricsAnswer) -> [UInt8] {
    let now = monotonicNow()
    if let last = answers[answer], now - last.time < Self.freshness { return last.bytes }
    let bytes = answer.bytes { Array(render().text($0).utf8) }
    answers[answer] = (now, bytes)
    return bytes
  }
}
