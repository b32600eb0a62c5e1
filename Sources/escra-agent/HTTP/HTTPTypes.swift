// SPDX-License-Identifier: Apache-2.0

/// A request to an engine.
struct HTTPRequest {
  /// The method.
  var method = "POST"
  /// Where it goes.
  var url: String
  /// Lines such as "Content-Type: application/json".
  var headers: [String] = []
  /// The body; empty for none.
  var body: [UInt8] = []
}

/// What came of a request.
enum HTTPOutcome: Equatable {
  /// The engine answered.
  case response(status: Int, body: [UInt8])
  /// No byte of the request has left this node, so it has changed nothing.
  case notSent(String)
  /// No answer came, and whether the request took effect is not known.
  case lost(String)
}

/// How a connection is protected.
struct TransportSecurity: Equatable {
  /// The file of the certificate authorities that are trusted; nil for the system's.
  var authority: String?
  /// The file of the agent's certificate.
  var certificate: String?
  /// The file of its private key.
  var key: String?
}
