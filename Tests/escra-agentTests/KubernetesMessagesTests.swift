// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_agent

struct KubernetesMessagesTests {
  private let key = LedgerKey(namespace: "shop", application: "web.front", resource: "cpu")

  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func `names an object by application and resource`() {
    #expect(KubernetesMessages.name(key) == "web.front.cpu")
    #expect(KubernetesMessages.key(namespace: "shop", name: "web.front.cpu") == key)
    #expect(KubernetesMessages.key(namespace: "shop", name: "web") == nil)
    #expect(
      KubernetesMessages.path(key)
        == "/apis/escra.io/v1alpha1/namespaces/shop/escraapplications/web.front.cpu")
  }

  @Test func `reads the ledger and its version`() {
    let body = bytes(
      #"""
      {"apiVersion":"escra.io/v1alpha1","kind":"EscraApplication","metadata":{"name":"web.cpu",
      "resourceVersion":"41"},"spec":{"ledger":{"limit":2000000000}}}
      """#)
    #expect(
      KubernetesMessages.reading(200, body)
        == .found(bytes(#"{"limit":2000000000}"#), version: "41"))
  }

  // In the form of apimachinery (pkg/api/errors, NewNotFound).
  private let notFound = #"""
    {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
    "message":"escraapplications.escra.io \"web.cpu\" not found","reason":"NotFound",
    "details":{"name":"web.cpu","group":"escra.io","kind":"escraapplications"},"code":404}
    """#

  @Test func `an object that is not there is told from a resource that is not defined`() {
    #expect(KubernetesMessages.reading(404, bytes(notFound)) == .absent)
    #expect(KubernetesMessages.reading(404, bytes("404 page not found")) == nil)
    #expect(
      KubernetesMessages.reading(404, bytes(#"{"kind":"Status","details":{},"code":404}"#)) == nil)
  }

  @Test func `reads what came of a swap`() {
    let made = #"{"kind":"EscraApplication","metadata":{"resourceVersion":"42"}}"#
    #expect(KubernetesMessages.swap(200, bytes(made)) == .succeeded(version: "42"))
    #expect(KubernetesMessages.swap(201, bytes(made)) == .succeeded(version: "42"))
    #expect(
      KubernetesMessages.swap(409, bytes(#"{"kind":"Status","code":409}"#)) == .conflict(nil))
    #expect(KubernetesMessages.swap(404, bytes(notFound)) == .conflict(nil))
    #expect(
      KubernetesMessages.swap(200, bytes(#"{"kind":"Status","status":"Success"}"#))
        == .succeeded(version: ""))
    #expect(KubernetesMessages.swap(500, bytes(#"{"kind":"Status"}"#)) == nil)
    #expect(KubernetesMessages.swap(200, bytes("")) == nil)
  }

  @Test(arguments: [
    (
      #"{"type":"MODIFIED","object":{"metadata":{"name":"web.cpu","namespace":"a","resourceVersion":"7"},"spec":{"ledger":{"limit":1}}}}"#,
      KubernetesMessages.WatchLine.changed(
        LedgerKey(namespace: "a", application: "web", resource: "cpu"), version: "7",
        ledger: Array(#"{"limit":1}"#.utf8))
    ),
    (
      #"{"type":"DELETED","object":{"metadata":{"name":"web.cpu","namespace":"a","resourceVersion":"8"},"spec":{"ledger":{"limit":1}}}}"#,
      .changed(
        LedgerKey(namespace: "a", application: "web", resource: "cpu"), version: "8", ledger: nil)
    ),
    (
      #"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#,
      .bookmark(version: "9")
    ),
    (#"{"type":"ERROR","object":{"kind":"Status","reason":"Expired","code":410}}"#, .expired),
    (#"{"type":"ERROR","object":{"kind":"Status","code":500}}"#, .ended), ("rubbish", .ended),
  ])
  func `reads the lines of a watch`(line: String, said: KubernetesMessages.WatchLine) {
    #expect(KubernetesMessages.watchLine(bytes(line)) == said)
  }

  @Test func `makes an object`() {
    let object = KubernetesMessages.object(key, bytes("{}"))
    #expect(
      String(decoding: object, as: UTF8.self) == #"""
        {"apiVersion":"escra.io/v1alpha1","kind":"EscraApplication","metadata":{"name":"web.front.cpu","namespace":"shop"},"spec":{"application":"web.front","resource":"cpu","ledger":{}}}
        """#)
  }

  @Test func `replaces the ledger in the object that it has read, and nothing else`() {
    let old = #"""
      {"kind":"EscraApplication","metadata":{"name":"web.cpu","labels":{"team \"a\"":"b\u0007"},
      "annotations":{"x/y":"z"},"resourceVersion":"5"},"spec":{"ledger":{"limit":1},"note":[1,2]},
      "status":{"seen":true}}
      """#
    let object = KubernetesMessages.object(bytes(old), with: bytes(#"{"limit":2}"#)) ?? []
    #expect(
      String(decoding: object, as: UTF8.self) == #"""
        {"kind":"EscraApplication","metadata":{"name":"web.cpu","labels":{"team \"a\"":"b\u0007"},"annotations":{"x/y":"z"},"resourceVersion":"5"},"status":{"seen":true},"spec":{"note":[1,2],"ledger":{"limit":2}}}
        """#)
    #expect(KubernetesMessages.object(bytes("[]"), with: bytes("{}")) == nil)
  }
}
