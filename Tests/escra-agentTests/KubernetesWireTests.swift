// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_agent

/// Answers in the form in which API servers have given them to others, with names of ours.
///
/// None is a recording of ours: no API server is packaged where these tests run. Each has the members,
/// in the order and with the sentence, of an answer that is quoted where `quoted` says.
struct KubernetesWireTests {
  /// An answer to a swap.
  struct Answer: CustomTestStringConvertible, Sendable {
    var quoted: String
    var status: Int
    var body: String
    /// What it means; nil: it may have happened.
    var means: LedgerSwap?

    var testDescription: String { quoted }
  }

  private static func failure(_ message: String, _ rest: String) -> String {
    #"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":""#
      + message + #"","# + rest + "}"
  }

  private static let details =
    #""details":{"name":"web.cpu","group":"escra.io","kind":"escraapplications"}"#
  private static let named = #"escraapplications.escra.io \"web.cpu\""#

  static let answers = [
    Answer(
      quoted: "haxsaw/hikaru issue 37: PUT of a custom resource with an old version",
      status: 409,
      body: failure(
        "Operation cannot be fulfilled on \(named): the object has been modified; please apply "
          + "your changes to the latest version and try again",
        #""reason":"Conflict",\#(details),"code":409"#), means: .conflict(nil)),
    Answer(
      quoted: "kubernetes/kubernetes issue 89985: PUT of an object that is gone, 409 and not 404",
      status: 409,
      body: failure(
        "Operation cannot be fulfilled on \(named): StorageError: invalid object, Code: 4, Key: "
          + "/registry/escra.io/escraapplications/default/web.cpu, ResourceVersion: 0, "
          + "AdditionalErrorMsg: Precondition failed: UID in precondition: 1234, UID in object "
          + "meta: ", #""reason":"Conflict",\#(details),"code":409"#), means: .conflict(nil)),
    Answer(
      quoted: "fabric8io/kubernetes-client issue 1724: PUT without a version", status: 422,
      body: failure(
        "\(named) is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for "
          + "an update", #""reason":"Invalid",\#(details),"code":422"#), means: nil),
    Answer(
      quoted: "kubernetes/kubernetes issue 112152: the engine's errors are 500 without a reason",
      status: 500, body: failure("etcdserver: request timed out", #""code":500"#), means: nil),
    Answer(
      quoted: "kubernetes-retired/bootkube issue 312: a time-out is a Status in another object",
      status: 504,
      body: #"{"ErrStatus":{"metadata":{},"status":"Failure","message":"The  operation against "#
        + #" could not be completed at this time, please try again.","reason":"ServerTimeout","#
        + #""details":{},"code":500}}"#, means: nil),
    Answer(
      quoted: "kubernetes/kubernetes issue 78343: DELETE of a custom resource answers a Status",
      status: 200,
      body: #"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"#
        + #""name":"web.cpu","group":"escra.io","kind":"escraapplications","#
        + #""uid":"5c9d01a5-15f2-11e9-bc08-025000000001"}}"#, means: .succeeded(version: "")),
  ]

  @Test(arguments: answers)
  func `reads what a swap has been answered`(answer: Answer) {
    #expect(KubernetesMessages.swap(answer.status, Array(answer.body.utf8)) == answer.means)
    // None of them is an object.
    #expect(KubernetesMessages.reading(answer.status, Array(answer.body.utf8)) == nil)
  }

  @Test(arguments: [
    (
      "wso2/apk issue 571: the version of a watch is too old, in a stream of status 200",
      #"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"#
        + #""status":"Failure","message":"too old resource version: 657887 (680402)","#
        + #""reason":"Expired","code":410}}"#, KubernetesMessages.WatchLine.expired
    ),
    (
      "jaegertracing/jaeger-operator issue 103: the same of another version, members in any order",
      #"{"type":"ERROR","object":{"code":410,"kind":"Status","apiVersion":"v1","metadata":{},"#
        + #""status":"Failure","message":"The resourceVersion for the provided watch is too "#
        + #"old.","reason":"Expired"}}"#, .expired
    ),
    (
      "kubernetes-client/python-base pull 234: a bookmark has a kind, and an empty spec and status",
      #"{"type":"BOOKMARK","object":{"kind":"EscraApplication","apiVersion":"escra.io/v1alpha1","#
        + #""metadata":{"resourceVersion":"12746","creationTimestamp":null},"spec":{"ledger":{"#
        + #"}},"status":{}}}"#, .bookmark(version: "12746")
    ),
  ])
  func `reads what a watch has said`(
    quoted: String, line: String, means: KubernetesMessages.WatchLine
  ) {
    #expect(KubernetesMessages.watchLine(Array(line.utf8)) == means, "\(quoted)")
  }
}
