// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import OCISpec
@testable import Quantities

@Suite struct HistoryConfigTests {
  @Test func `there is no history without its key, and defaults for what the key does not say`()
    throws
  {
    #expect(try parse("{}").history == nil)
    #expect(try parse(#"{"history": {}}"#).history == OperatorConfig.History())
    let config = try parse(
      #"{"history": {"directory": "/srv/h", "runs": 50, "keep": "12h", "predict": "admit"}}"#)
    var expected = OperatorConfig.History()
    (expected.directory, expected.runs, expected.keep) = ("/srv/h", 50, 43_200)
    expected.predict = .admit
    #expect(config.history == expected)
  }

  @Test(arguments: [("30d", 2_592_000), ("45m", 2700), ("90s", 90), ("1h", 3600)])
  func `a time is a number and a unit`(text: String, seconds: Int64) throws {
    #expect(try parse(#"{"history": {"keep": "\#(text)"}}"#).history?.keep == seconds)
  }

  @Test(
    arguments: [
      (#""directory": "h""#, "history.directory \"h\" is no absolute path"),
      (#""runs": 4"#, "history.runs 4 is out of range; write an integer from 5 to 100000"),
      (#""runs": "many""#, "history.runs \"many\" is out of range"),
      (#""keep": "1w""#, "history.keep \"1w\" is no time; write one such as \"30d\""),
      (#""keep": "-1d""#, "is no time"), (#""keep": "d""#, "is no time"),
      (#""keep": 30"#, "history.keep 30 is no time"),
      (#""predict": "on""#, "history.predict \"on\" is no known value; write off, start or admit"),
      (#""run": 5"#, "unknown key history.run; the nearest known one is history.runs"),
    ])
  func `refuses what means nothing`(member: String, said: String) {
    let found = sentence { _ = try parse("{\"history\": {\(member)}}") }
    #expect(found.contains(said), "\(found)")
  }

  @Test func `a container of a pod is remembered by its name, any other by its annotation`() throws
  {
    let pod: Annotated = [
      "policy": "reactive", "io.kubernetes.cri.container-name": "web",
      "io.kubernetes.cri.sandbox-namespace": "shop",
    ]
    #expect(try resolve(pod).profile == "web")
    #expect(try resolve(pod).scope == "shop")
    #expect(try resolve(["policy": "reactive"]).profile == nil)
    #expect(try resolve(["policy": "observe", "profile": "a.b-c"]).profile == "a.b-c")
    let named: Annotated = [
      "policy": "reactive", "profile/web": "other", "io.kubernetes.cri.container-name": "web",
      "io.kubernetes.cri.sandbox-namespace": "shop",
    ]
    #expect(try resolve(named).profile == "other")
    #expect(try resolve(["policy": "observe", "record": "trace"]).isTraced)
    // A name that is none, as other engines give them, is no profile and no error.
    let odd: Annotated = [
      "policy": "reactive", "io.kubernetes.cri.container-name": "Web_1",
      "io.kubernetes.cri.sandbox-namespace": "shop",
    ]
    #expect(try resolve(odd).profile == nil)
  }

  @Test(
    arguments: [
      (["policy": "reactive", "profile": "../x"], "is no profile name"),
      (["policy": "reactive", "record": "everything"], "is nothing that can be recorded"),
      (["policy": "strict", "profile": "web"], "contradicts the policy strict"),
      (["profile": "web"], "has no effect without a policy"),
    ] as [([String: String], String)])
  func `refuses annotations that mean nothing`(annotations: [String: String], said: String) {
    let found = sentence {
      _ = try ContainerPolicy.resolve(
        annotations: annotations.sorted { $0.key < $1.key }.map {
          ("io.escra.\($0.key)", $0.value)
        },
        declared: DeclaredLimits(cpu: CPUAmount(millicores: 1000), memory: nil),
        config: OperatorConfig(), node: NodeCapacity(millicores: 8000, memory: 1 << 34),
        invocationDefault: nil)
    }
    #expect(found.contains(said), "\(found)")
  }
}
