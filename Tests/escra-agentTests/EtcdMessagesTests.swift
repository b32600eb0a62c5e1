// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_agent

struct EtcdMessagesTests {
  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"),
  ])
  func `writes and reads Base64 as RFC 4648 does`(bytes: String, text: String) {
    #expect(Base64.encode(Array(bytes.utf8)) == text)
    #expect(Base64.decode(text) == Array(bytes.utf8))
  }

  @Test(arguments: ["Zg=", "Zg", "Z===", "Zg==Zg==", "Z*8=", "====", "Zm=v"])
  func `refuses a text that is no Base64`(text: String) { #expect(Base64.decode(text) == nil) }

  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  private let key = LedgerKey(namespace: "shop", application: "web", resource: "cpu")

  @Test func `names an object by namespace, application and resource`() {
    #expect(LedgerKey("shop/web/cpu") == key)
    #expect(LedgerKey("shop/web") == nil)
    #expect(LedgerKey("shop//cpu") == nil)
  }

  // In the form of etcd 3.4.23.
  private let header = #"""
    "header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437",
    "revision":"7","raft_term":"2"}
    """#

  @Test func `reads the newest value with its version`() {
    let body = bytes(
      "{\(header),\"kvs\":[{\"key\":\"YQ==\",\"create_revision\":\"5\",\"mod_revision\":\"6\","
        + "\"version\":\"2\",\"value\":\"Zm9v\"}],\"count\":\"1\"}")
    #expect(EtcdMessages.reading(body) == .found(bytes("foo"), version: "6"))
  }

  @Test func `reads that there is no object`() {
    #expect(EtcdMessages.reading(bytes("{\(header)}")) == .absent)
  }

  @Test(arguments: ["", "{}", "[]", "not found", #"{"header":{},"kvs":[{"value":"*"}]}"#])
  func `takes no other answer for a value`(body: String) {
    #expect(EtcdMessages.reading(bytes(body)) == nil)
  }

  @Test func `a swap that succeeds has the revision of its answer`() {
    let body = bytes(
      "{\(header),\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":"
        + "{\"revision\":\"7\"}}}]}")
    #expect(
      EtcdMessages.swap(body, proposed: bytes("foo")) == .succeeded(version: "7"))
  }

  private func conflict(_ value: String) -> [UInt8] {
    bytes(
      "{\(header),\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"7\"},\"kvs\":["
        + "{\"key\":\"YQ==\",\"mod_revision\":\"6\",\"value\":\"\(value)\"}]}}]}")
  }

  @Test func `a conflict says what the object is now`() {
    #expect(
      EtcdMessages.swap(conflict("YmFy"), proposed: bytes("foo"))
        == .conflict(.found(bytes("bar"), version: "6")))
  }

  @Test func `a conflict with the same bytes is the request that was sent twice`() {
    #expect(
      EtcdMessages.swap(conflict("Zm9v"), proposed: bytes("foo")) == .succeeded(version: "6"))
  }

  private static let web = LedgerKey(namespace: "shop", application: "web", resource: "cpu")

  @Test(arguments: [
    (#"{"result":{"header":{"revision":"1"},"created":true}}"#, EtcdMessages.WatchLine.created),
    (
      #"{"result":{"events":[{"kv":{"key":"L2VzY3JhL3YxL3Nob3Avd2ViL2NwdQ==","value":"YQ=="}},"#
        + #"{"kv":{"key":"L2VzY3JhL3YxL3Nob3Avd2ViL2NwdQ==","mod_revision":"5","value":"Yg=="}}]}}"#,
      .changed([.init(key: web, now: .found([98], version: "5"))])
    ),
    (
      #"{"result":{"events":[{"type":"DELETE","kv":{"key":"L2VzY3JhL3YxL3Nob3Avd2ViL2NwdQ==","#
        + #""mod_revision":"6"}}]}}"#,
      .changed([.init(key: web, now: nil)])
    ),
    (#"{"result":{"canceled":true,"compact_revision":"9"}}"#, .ended),
    (#"{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}"#, .ended),
    (#"{"result":{"header":{"revision":"4"}}}"#, .other), ("rubbish", .ended),
  ])
  func `reads the lines of a watch`(line: String, said: EtcdMessages.WatchLine) {
    #expect(EtcdMessages.watchLine(bytes(line)) == said)
  }

  @Test func `cuts a stream into lines, whatever its pieces`() {
    var splitter = LineSplitter()
    #expect(splitter.take(bytes("ab")) == [])
    #expect(splitter.take(bytes("c\n\nde\nf")) == [bytes("abc"), bytes("de")])
    #expect(splitter.take(bytes("\n")) == [bytes("f")])
  }
}
