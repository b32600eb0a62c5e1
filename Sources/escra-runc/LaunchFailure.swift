// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits

/// Why a container is not supervised although it should be; it may start without.
struct LaunchFailure: Error {
  let sentence: String
  init(_ reason: String) { sentence = reason }

  /// A supervisor said something else than READY, or nothing in so many seconds.
  static func notReady(_ answer: ControlSocket.Received, within seconds: Int32) -> LaunchFailure {
    LaunchFailure(
      answer == .nothing
        ? "its supervisor was not ready within \(seconds) s"
        : "its supervisor ended before it was ready")
  }
}
