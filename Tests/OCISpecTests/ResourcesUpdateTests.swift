// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec

@Suite struct ResourcesUpdateTests {
  @Test func `tells what is set from what is not`() throws {
    let update = try ResourcesUpdate(
      Array(
        #"""
        {"cpu":{"shares":2,"quota":-1,"period":0,"cpus":"","mems":null,"realtimePeriod":7},
         "memory":{"limit":1073741824,"swap":-1},"blockIO":{"weight":0},"linux":{"quota":1}}
        """#.utf8))
    #expect(update.cpuQuota == -1)
    #expect(update.cpuPeriod == nil)
    #expect(update.cpus == nil)
    #expect(update.mems == nil)
    #expect(update.memoryLimit == 1_073_741_824)
    #expect(update.memorySwap == -1)
  }

  @Test(arguments: ["{}", #"{"cpu":null}"#, #"{"cpu":{}}"#, #"{"cpu":{"quota":0,"cpus":""}}"#])
  func `a request may set nothing`(_ json: String) throws {
    let update = try ResourcesUpdate(Array(json.utf8))
    #expect(update.cpuQuota == nil)
    #expect(update.cpus == nil)
    #expect(update.memoryLimit == nil)
  }

  @Test(arguments: [
    (#"{}"#, #"{"cpu":{"quota":50000,"period":100000}}"#),
    (#"{"memory":{"limit":1}}"#, #"{"cpu":{"quota":50000,"period":100000},"memory":{"limit":1}}"#),
    (#"{"cpu":null}"#, #"{"cpu":{"quota":50000,"period":100000}}"#),
    (#"{"CPU":{"Quota":1}}"#, #"{"CPU":{"period":100000,"Quota":50000}}"#),
    (
      "{ \"cpu\": {\"quota\": 1, \"period\": 2, \"cpus\": \"0\"} }\n",
      "{ \"cpu\": {\"quota\": 50000, \"period\": 100000, \"cpus\": \"0\"} }\n"
    ),
  ])
  func `is rewritten by splices`(_ before: String, _ after: String) throws {
    let update = try ResourcesUpdate(Array(before.utf8))
    #expect(text(update.rewriting(cpuQuota: 50_000, period: 100_000)) == after)
  }

  @Test func `rewriting only the quota leaves the period`() throws {
    let update = try ResourcesUpdate(Array(#"{"cpu":{"quota":1,"period":2}}"#.utf8))
    #expect(text(update.rewriting(cpuQuota: 9)) == #"{"cpu":{"quota":9,"period":2}}"#)
    #expect(text(update.rewriting()) == #"{"cpu":{"quota":1,"period":2}}"#)
  }

  @Test(arguments: [
    ("", "the resources to update is not valid JSON at byte 0: the document ends too early"),
    ("[]", "the resources to update is an array; it must be an object"),
    (
      #"{"cpu":{"quota":"max"}}"#,
      "cpu.quota in the resources to update is \"max\"; it must be an integer of 64 bits"
    ),
    (#"{"memory":7}"#, "memory in the resources to update is 7; it must be an object"),
  ])
  func `says what is wrong with a request`(_ json: String, _ sentence: String) {
    let error = #expect(throws: ConfigError.self) { try ResourcesUpdate(Array(json.utf8)) }
    #expect(error?.description == sentence)
  }
}
