// SPDX-License-Identifier: Apache-2.0

/// How applications that span nodes are shared: `cluster` in the operator's config.
package struct ClusterConfig: Equatable, Sendable {
  /// Which engine keeps the ledgers.
  package enum Engine: String, CaseIterable, Sendable {
    /// etcd, by its JSON gateway.
    case etcd
    /// The Kubernetes API, as custom resources.
    case kubernetes
  }

  /// What a node falls to if the engine does not answer.
  package enum LossAction: String, CaseIterable, Sendable {
    /// The sum of what its members declare: what is above that is shared.
    case declared
    /// The sum of their floors: what is above those is shared.
    case floor
  }

  /// Which engine.
  package var engine = Engine.etcd
  /// The addresses of its members, without a slash at the end.
  package var endpoints: [String] = []
  /// The file of the certificate authorities that are trusted; nil for the system's.
  package var ca: String?
  /// The file of this node's certificate.
  package var cert: String?
  /// The file of its private key.
  package var key: String?
  /// The file of the bearer token, for Kubernetes.
  package var token: String?
  /// What this node is called; nil for its host name.
  package var node: String?
  /// For how long a share may be used after the engine was last asked, in seconds.
  package var validity: Int64 = 6
  /// What happens if the engine does not answer.
  package var onLost = LossAction.declared
  /// The defaults, without an endpoint.
  package init() {}
}

extension ClusterConfig {
  /// The keys of `cluster`.
  enum Key: String, CaseIterable {
    case engine, endpoints, ca, cert, key, token, node, validity, onLost
  }

  init(_ value: borrowing JSONValue) throws(OperatorConfigError.Problem) {
    try value.forEachMember(of: Key.self) { key, value throws(OperatorConfigError.Problem) in
      try set(key, value)
    }
    try check(at: value.path)
  }

  private mutating func set(
    _ key: Key, _ value: borrowing JSONValue
  ) throws(OperatorConfigError.Problem) {
    switch key {
    case .engine: engine = try value.choice(of: Engine.self)
    case .endpoints: endpoints = try value.endpoints()
    case .ca: ca = try value.absolutePath()
    case .cert: cert = try value.absolutePath()
    case .key: self.key = try value.absolutePath()
    case .token: token = try value.absolutePath()
    case .node: node = try value.nodeName()
    case .validity: validity = try value.seconds(of: 3...3600)
    case .onLost: onLost = try value.choice(of: LossAction.self)
    }
  }

  /// Refuses what is fine by itself but not together.
  private func check(at path: String) throws(OperatorConfigError.Problem) {
    if endpoints.isEmpty {
      throw .badValue(
        path: path, shown: "{...}",
        why: "names no endpoint; write \"endpoints\": [\"https://HOST:2379\"]")
    }
    if (cert == nil) != (key == nil) {
      let (present, absent) = cert == nil ? ("key", "cert") : ("cert", "key")
      throw .badValue(
        path: "\(path).\(present)", shown: quoted(cert ?? key ?? ""),
        why: "needs \(path).\(absent); write both or neither")
    }
    if let token, engine != .kubernetes {
      throw .badValue(
        path: "\(path).token", shown: quoted(token),
        why: "is for the engine \"kubernetes\"; remove it, or write that engine")
    }
    // A bearer token, or a ledger that anyone on the way can change, is no secret and no limit.
    let isSecret = token != nil || cert != nil || ca != nil
    if isSecret, let open = endpoints.first(where: { $0.hasPrefix("http://") }) {
      throw .badValue(
        path: "\(path).endpoints", shown: quoted(open),
        why: "is not protected, so certificates and tokens are of no use; write https://")
    }
  }
}

extension JSONValue {
  fileprivate func endpoints() throws(OperatorConfigError.Problem) -> [String] {
    guard isArray else {
      throw refusal("is no array; write an array of addresses such as \"https://10.0.0.1:2379\"")
    }
    var addresses: [String] = []
    try forEachElement { element throws(OperatorConfigError.Problem) in
      addresses.append(try element.endpoint())
    }
    return addresses
  }

  private func endpoint() throws(OperatorConfigError.Problem) -> String {
    guard var text = string,
      let scheme = ["http://", "https://"].first(where: { text.hasPrefix($0) })
    else { throw refusal("is no address; write one such as \"https://10.0.0.1:2379\"") }
    if text.hasSuffix("/") { text.removeLast() }
    let host = text.dropFirst(scheme.count)
    let isPlain = host.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard !host.isEmpty, isPlain else {
      throw refusal("has more than a host and a port; write one such as \"https://10.0.0.1:2379\"")
    }
    return text
  }

  fileprivate func nodeName() throws(OperatorConfigError.Problem) -> String {
    guard let text = string, ClusterConfig.isNodeName(text) else {
      throw refusal("is no name of a node; write 1 to 253 letters, digits, \"-\", \"_\" and \".\"")
    }
    return text
  }

  fileprivate func seconds(
    of range: ClosedRange<Int64>
  ) throws(OperatorConfigError.Problem) -> Int64 {
    let seconds = try seconds()
    guard range.contains(seconds) else {
      throw refusal(
        "is out of range; write \"\(range.lowerBound)s\" to \"\(range.upperBound)s\"")
    }
    return seconds
  }
}

extension ClusterConfig {
  /// Whether a text can name a node.
  package static func isNodeName(_ text: String) -> Bool {
    (1...253).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
          UInt8(ascii: "."):
          true
        default: false
        }
      }
  }
}
