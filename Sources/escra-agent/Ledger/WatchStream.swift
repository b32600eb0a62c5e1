// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// A stream of lines from an engine, which is opened anew when it breaks.
///
/// It also moves when requests leave its endpoint: a member that is cut off from the others says
/// nothing to its watchers, and no error either.
final class WatchStream {
  private let connection: EngineConnection
  private let request: () -> HTTPRequest
  private let onLine: ([UInt8]) -> Line
  private let onEnd: (Int?) -> Void

  private var transfer: HTTPTransfer?
  private var address = ""
  private var lines = LineSplitter()
  private var retry: EventLoop.Deadline?
  private var failures = 0
  private var isWanted = false

  /// What becomes of the stream after a line.
  enum Line {
    /// It goes on.
    case fine
    /// It is closed and opened anew.
    case broken
  }

  /// The pause before the first attempt to open it anew; it doubles up to the last one.
  private static let firstPause: Nanoseconds = 20_000_000
  private static let lastPause: Nanoseconds = 1_000_000_000

  /// Makes a stream that is closed.
  ///
  /// - Parameters:
  ///   - connection: To the engine.
  ///   - request: Makes the request, with a path instead of a URL.
  ///   - onEnd: Gets the HTTP status with which it has ended; nil where there was none.
  ///   - onLine: Gets each line.
  init(
    _ connection: EngineConnection, request: @escaping () -> HTTPRequest,
    onEnd: @escaping (Int?) -> Void, onLine: @escaping ([UInt8]) -> Line
  ) {
    self.connection = connection
    self.request = request
    self.onLine = onLine
    self.onEnd = onEnd
    connection.onLeave = { [weak self] in self?.leave($0) }
  }

  /// Opens it, unless it is open.
  func open() {
    isWanted = true
    if transfer == nil && retry == nil { start() }
  }

  /// Closes it.
  func close() {
    isWanted = false
    stop()
  }

  private func stop() {
    if let transfer { connection.cancel(transfer) }
    transfer = nil
    if let retry { connection.loop.cancel(retry) }
    retry = nil
  }

  private func start() {
    stop()
    lines = LineSplitter()
    let (transfer, address) = connection.stream(
      request(), onBytes: { [weak self] in self?.take($0) },
      { [weak self] outcome in self?.finish(outcome) })
    self.transfer = transfer
    self.address = address
  }

  private func finish(_ outcome: HTTPOutcome) {
    transfer = nil
    if case .response(let status, _) = outcome {
      onEnd(status)
    } else {
      onEnd(nil)
      connection.walkOn(from: address)
    }
    startLater()
  }

  private func startLater() {
    stop()
    guard isWanted else { return }
    let pause = min(Self.lastPause, Self.firstPause << min(failures, 8))
    failures += 1
    retry = connection.loop.at(connection.loop.now + pause) { [weak self] in self?.start() }
  }

  private func leave(_ address: String) {
    if transfer != nil, self.address == address { startLater() }
  }

  private func take(_ bytes: [UInt8]) {
    for line in lines.take(bytes) {
      failures = 0
      if case .broken = onLine(line) {
        return startLater()
      }
    }
  }
}
