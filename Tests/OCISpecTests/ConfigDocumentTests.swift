// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import Quantities

@Suite struct ConfigDocumentTests {
  private func cpu(_ members: String) -> String {
    #"{"linux":{"resources":{"cpu":{"# + members + "}}}}"
  }

  @Test func `reads what runc's own template declares`() throws {
    let config = try document(runcSpec)
    #expect(config.declared == DeclaredResources())
    #expect(config.annotations.isEmpty)
    #expect(config.cgroupsPath == nil)
    #expect(!config.hasEscraAnnotation)
  }

  @Test func `reads every declared value`() throws {
    let config = try document(
      #"""
      {"process":{"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615}]},
       "linux":{"cgroupsPath":"/a\/b","resources":{
         "memory":{"limit":536870912,"swap":-1,"reservation":268435456},
         "cpu":{"shares":512,"quota":150000,"period":50000,"cpus":"0-3,7","mems":"0"}}}}
      """#)
    #expect(
      config.declared
        == DeclaredResources(
          cpu: CFSBandwidth(quota: 150_000, period: 50_000), cpuset: "0-3,7", mems: "0",
          memory: 536_870_912, memorySwap: -1))
    #expect(config.cgroupsPath == "/a/b")
  }

  @Test(arguments: [
    ("\"quota\":50000", CFSBandwidth(quota: 50_000, period: 100_000)),
    ("\"quota\":50000,\"period\":0", CFSBandwidth(quota: 50_000, period: 100_000)),
    ("\"quota\":50000,\"period\":null", CFSBandwidth(quota: 50_000, period: 100_000)),
    ("\"quota\":0,\"period\":20000", nil), ("\"quota\":-1", nil), ("\"quota\":-0", nil),
    ("\"quota\":null", nil), ("\"period\":20000", nil), ("", nil),
    ("\"quota\":1,\"quota\":2", CFSBandwidth(quota: 2)),
    ("\"quota\":1,\"quota\":null", nil),
    ("\"QUOTA\":3,\"Period\":4000", CFSBandwidth(quota: 3, period: 4000)),
    ("\"quota\":1,\"Quota\":2", CFSBandwidth(quota: 2)),
    (#""qu\u006fta":5"#, CFSBandwidth(quota: 5)),
    (#""qu\u006Fta":5"#, CFSBandwidth(quota: 5)),
    ("\"quota \":5,\"quot\":6,\"quotas\":7,\"\":8,\"qu\\nta\":9,\"quotä\":1", nil),
    (
      "\"quota\":9223372036854775807,\"period\":18446744073709551615",
      CFSBandwidth(quota: .max, period: .max)
    ),
    ("\"x\":{\"quota\":7},\"y\":[{\"quota\":8}]", nil),
  ])
  func `takes the CPU limit that runc would`(_ members: String, _ expected: CFSBandwidth?) throws {
    #expect(try document(cpu(members)).declared.cpu == expected)
  }

  @Test(arguments: [
    #"{"linux":{"resources":{"cpu":{"quota":1}}},"linux":{"resources":{"cpu":{"period":2000}}}}"#,
    #"{"linux":{"resources":{"cpu":{"quota":1}},"resources":{"cpu":{"period":2000}}}}"#,
    #"{"LINUX":{"Resources":{"CPU":{"quota":1},"cpu":{"period":2000}}}}"#,
    #"{"linux":{"reſourceſ":{"cpu":{"quota":1,"period":2000}}}}"#,
    #"{"linux":{"re\u017fources":{"cpu":{"quota":1,"period":2000}}}}"#,
    #"{"linux":null,"linux":{"resources":{"cpu":{"quota":1,"period":2000}}}}"#,
    #"{"linux":{"resources":{"cpu":{"quota":9},"cpu":null,"cpu":{"quota":1,"period":2000}}}}"#,
  ])
  func `merges duplicate objects as Go does`(_ json: String) throws {
    #expect(try document(json).declared.cpu == CFSBandwidth(quota: 1, period: 2000))
  }

  @Test(arguments: [
    #"{"linux":{"resources":{"cpu":{"quota":1}}},"linux":null}"#,
    #"{"linux":{"resources":{"cpu":{"quota":1}},"resources":null}}"#,
    #"{"linux":{"resources":{"cpu":{"quota":1},"cpu":null}}}"#,
    #"{"resources":{"cpu":{"quota":1}},"cpu":{"quota":1},"quota":1}"#,
    #"[{"linux":{"resources":{"cpu":{"quota":1}}}}]"#,
  ])
  func `null drops what came before, and other places do not count`(_ json: String) throws {
    if json.first == "[" {
      #expect(throws: ConfigError.self) { try document(json) }
    } else {
      #expect(try document(json).declared == DeclaredResources())
    }
  }

  @Test func `null drops nothing beside it`() throws {
    let config = try document(
      #"{"linux":{"cgroupsPath":"/a","resources":{"memory":{"limit":5},"cpu":null}}}"#)
    #expect(config.declared == DeclaredResources(memory: 5))
    #expect(config.cgroupsPath == "/a")
  }

  @Test func `null leaves a string as it was`() throws {
    let config = try document(#"{"linux":{"cgroupsPath":"/a","cgroupsPath":null}}"#)
    #expect(config.cgroupsPath == "/a")
  }

  @Test(arguments: [
    (
      #"{"linux":{"resources":{"cpu":{"quota":1.0}}}}"#,
      "linux.resources.cpu.quota in config.json is 1.0; it must be an integer of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":1e3}}}}"#,
      "linux.resources.cpu.quota in config.json is 1e3; it must be an integer of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":"1"}}}}"#,
      "linux.resources.cpu.quota in config.json is \"1\"; it must be an integer of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"quota":9223372036854775808}}}}"#,
      "linux.resources.cpu.quota in config.json is 9223372036854775808; "
        + "it must be an integer of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"period":-0}}}}"#,
      "linux.resources.cpu.period in config.json is -0; it must be a whole number of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"memory":{"limit":[]}}}}"#,
      "linux.resources.memory.limit in config.json is an array; it must be an integer of 64 bits"
    ),
    (
      #"{"linux":{"resources":{"cpu":{"cpus":3}}}}"#,
      "linux.resources.cpu.cpus in config.json is 3; it must be a string of Unicode text"
    ),
    (#"{"linux":[]}"#, "linux in config.json is an array; it must be an object"),
    (#"{"annotations":true}"#, "annotations in config.json is true; it must be an object"),
    ("[]", "config.json is an array; it must be an object"),
    ("null", "config.json is null; it must be an object"),
    ("7", "config.json is 7; it must be an object"),
    (
      #"{"annotations":{"io.escra.policy":1}}"#,
      "annotations.io.escra.policy in config.json is 1; it must be a string"
    ),
    (
      #"{"annotations":{"io.escra.policy":{}}}"#,
      "annotations.io.escra.policy in config.json is an object; it must be a string"
    ),
    (
      #"{"annotations":{"io.escra.policy":"\ud800"}}"#,
      "the annotation io.escra.policy in config.json is not valid Unicode text; "
        + "write its value in UTF-8 and without NUL"
    ),
    (
      #"{"annotations":{"io.escra.policy":"a\u0000"}}"#,
      "the annotation io.escra.policy in config.json is not valid Unicode text; "
        + "write its value in UTF-8 and without NUL"
    ),
    (
      #"{"annotations":{"io.escra.a\nforged: line\u001b[2J\u009b\u007f":"\ud800"}}"#,
      #"the annotation io.escra.a\u{a}forged:\u{20}line\u{1b}[2J\u{9b}\u{7f} in config.json is not "#
        + "valid Unicode text; write its value in UTF-8 and without NUL"
    ),
    (
      #"{"annotations":{"io.escra.a\nb":1}}"#,
      #"annotations.io.escra.a\u{a}b in config.json is 1; it must be a string"#
    ),
    (
      "{\"annotations\":{\"io.escra.\u{9b}\\ud800\":1}}",
      #"the annotation io.escra.\u{9b}\ud800 in config.json is not valid Unicode text; "#
        + "write its value in UTF-8 and without NUL"
    ),
    (
      "{\"linux\":{\"resources\":{\"cpu\":\"\u{9b}2J\"}}}",
      #"linux.resources.cpu in config.json is "\u{9b}2J"; it must be an object"#
    ),
    (#"{"a":"#, "config.json is not valid JSON at byte 5: the document ends too early"),
  ])
  func `says which member has which value and what it must be`(
    _ json: String, _ sentence: String
  ) throws {
    let error = #expect(throws: ConfigError.self) { try document(json) }
    #expect(error?.description == sentence)
  }

  @Test func `an annotation that is not UTF-8 is refused only where it is ours`() throws {
    func config(_ key: String) -> [UInt8] {
      Array("{\"annotations\":{\"\(key)\":\"".utf8) + [0xff] + Array("\"}}".utf8)
    }
    #expect(throws: ConfigError.undecodable(document: "x", annotation: "io.escra.app")) {
      try ConfigDocument(config("io.escra.app"), name: "x")
    }
    #expect(try ConfigDocument(config("io.kubernetes.pod.name")).annotations.isEmpty)
    #expect(try ConfigDocument(config("com.example")).annotations.isEmpty)
  }

  @Test func `gives the annotations that matter, decoded, sorted, each once`() throws {
    let config = try document(
      #"""
      {"annotations":{"io.escra.policy":"reactive","org.x":"y","io.kubernetes.cri.container-name":
        "w\u00e9b \ud83d\ude00 \"q\" \\ \/ \n","io.escra.app":"a","IO.escra.app":"not ours",
        "io.escra":"not ours","io.escra.app":"b","\u0069o.escra.priority":"3","x\u0069o.escra.y":"",
        "io.escra.cpu.max":null}}
      """#)
    let found = config.annotations.map { "\($0.key)=\($0.value)" }
    #expect(
      found == [
        "io.escra.app=b", "io.escra.cpu.max=", "io.escra.policy=reactive", "io.escra.priority=3",
        "io.kubernetes.cri.container-name=wéb 😀 \"q\" \\ / \n",
      ])
    #expect(config.hasEscraAnnotation)
  }

  @Test func `annotations merge over duplicate objects and go with a null`() throws {
    let merged = try document(
      #"{"annotations":{"io.escra.a":"1"},"Annotations":{"io.escra.b":"2","io.escra.a":"3"}}"#)
    #expect(merged.annotations.map(\.value) == ["3", "2"])
    let reset = try document(
      #"{"annotations":{"io.escra.a":"1"},"annotations":null,"annotations":{"io.escra.b":"2"}}"#)
    #expect(reset.annotations.map(\.key) == ["io.escra.b"])
    let elsewhere = try document(
      #"{"linux":{"annotations":{"io.escra.a":"1"}},"io.escra.b":"2","annotations":null}"#)
    #expect(elsewhere.annotations.isEmpty)
    #expect(!elsewhere.hasEscraAnnotation)
  }

  @Test(arguments: [
    ("", false), ("io.escra.", true), ("io.escra", false), (".escra.", false),
    ("o.escra.", false), ("xo.escra.", false), ("{\"io.escra.policy\":1", true),
    ("io.esc.io.escra.x", true), ("....io.escrb.", false), ("io.escra:", false),
    ("..io.escra.", true),
    (#""io\u002eescra.policy""#, true), (#""\u0069o.escra.x""#, true), (#""io.e\u0073cra""#, true),
    (#""io\\u002eescra.policy""#, false), (#""a\u003cb\n\"""#, false), (#"\u002"#, false),
  ])
  func `sees whether anything of ours is mentioned`(_ raw: String, _ expected: Bool) {
    let found = Array(raw.utf8).withUnsafeBytes { ConfigDocument.mentionsEscra($0) }
    #expect(found == expected)
  }

  @Test func `a document of a hundred thousand annotations takes no quadratic time`() throws {
    let members = (0..<100_000).map { "\"io.kubernetes.x\":\"\($0)\"" }.joined(separator: ",")
    let config = try document("{\"annotations\":{\(members)}}")
    #expect(config.annotations.map(\.value) == ["99999"])
  }
}
