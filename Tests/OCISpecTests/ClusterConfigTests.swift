// SPDX-License-Identifier: Apache-2.0
import OCISpec
import Testing

struct ClusterConfigTests {
  private func parse(_ cluster: String) throws -> ClusterConfig? {
    try OperatorConfig(parsing: Array("{\"cluster\": \(cluster)}".utf8), file: "/x").cluster
  }

  @Test func `reads every key`() throws {
    let config = try parse(
      """
      {
        "engine": "kubernetes", "endpoints": ["https://10.0.0.1:6443/", "https://[fd00::1]:6443"],
        "ca": "/ca", "cert": "/cert", "key": "/key", "token": "/token", "node": "n1",
        "validity": "3s", "onLost": "floor"
      }
      """)
    var expected = ClusterConfig()
    expected.engine = .kubernetes
    expected.endpoints = ["https://10.0.0.1:6443", "https://[fd00::1]:6443"]
    expected.ca = "/ca"
    expected.cert = "/cert"
    expected.key = "/key"
    expected.token = "/token"
    expected.node = "n1"
    expected.validity = 3
    expected.onLost = .floor
    #expect(config == expected)
  }

  @Test func `what is not said has its default`() throws {
    let config = try parse(#"{"endpoints": ["http://127.0.0.1:2379"]}"#)
    #expect(config?.engine == .etcd)
    #expect(config?.validity == 6)
    #expect(config?.onLost == .declared)
    #expect(config?.node == nil)
    #expect(try OperatorConfig(parsing: Array("{}".utf8), file: "/x").cluster == nil)
  }

  @Test(arguments: [
    ("{}", #"cluster {...} names no endpoint; write "endpoints": ["https://HOST:2379"]"#),
    (
      #"{"endpoints": "https://a"}"#, #"cluster.endpoints "https://a" is no array; write an array "#
    ),
    (#"{"endpoints": ["a:1"]}"#, #"cluster.endpoints[0] "a:1" is no address; write one such as "#),
    (
      #"{"endpoints": ["https://a/path"]}"#,
      #"cluster.endpoints[0] "https://a/path" has more than a host and a port; write one such as "#
    ),
    (
      #"{"endpoints": ["https://user@a"]}"#,
      #"cluster.endpoints[0] "https://user@a" has more than a host and a port"#
    ),
    (#"{"engine": "zk"}"#, #"cluster.engine "zk" is no known value; write etcd or kubernetes"#),
    (#"{"node": "a b"}"#, #"cluster.node "a\u{20}b" is no name of a node"#),
    (#"{"validity": "2s"}"#, #"cluster.validity "2s" is out of range; write "3s" to "3600s""#),
    (#"{"validity": 6}"#, "cluster.validity 6 is no time"),
    (
      #"{"endpoints": ["https://a"], "key": "/k"}"#,
      #"cluster.key "/k" needs cluster.cert; write both or neither"#
    ),
    (
      #"{"endpoints": ["https://a"], "token": "/t"}"#,
      #"cluster.token "/t" is for the engine "kubernetes""#
    ),
    (
      #"{"endpoints": ["https://a", "http://b"], "ca": "/c"}"#,
      #"cluster.endpoints "http://b" is not protected"#
    ),
    (#"{"Endpoints": []}"#, "unknown key cluster.Endpoints; the nearest known one is cluster.endp"),
  ])
  func `names the key, the value and what is accepted`(json: String, sentence: String) {
    let error = #expect(throws: OperatorConfigError.self) { _ = try parse(json) }
    #expect(error?.description.hasPrefix("/x: \(sentence)") == true, "\(error?.description ?? "")")
  }
}
