// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import OCISpec

/// Podman maps some phrases in a runtime's error to exit codes 126 and 127, and containerd takes
/// others for "the container is gone": no sentence of ours may hold one, whatever is quoted in it.
@Suite struct SentenceTests {
  static let phrases = [
    "permission denied", "operation not permitted", "no such file or directory",
    "executable file not found", "open executable", "does not exist", "process already finished",
    "container not running", "no such process",
  ]

  static let sentences =
    (AnnotationTables.badPolicies + AnnotationTables.badValues + AnnotationTables.badKeys
    + AnnotationTables.contradictions + AnnotationTables.aboveCeiling + AnnotationTables.withStrict
    + AnnotationTables.withoutPolicy).map(\.1) + OperatorConfigTests.typos.map(\.1)
    + QuantityTests.badCPUs.map(\.1) + QuantityTests.badBytes.map(\.1)

  @Test(arguments: phrases)
  func `no sentence says what callers look for`(phrase: String) {
    #expect(!Self.sentences.isEmpty)
    for sentence in Self.sentences { #expect(!sentence.lowercased().contains(phrase)) }
  }

  @Test(arguments: phrases)
  func `no annotation can make a sentence say it`(phrase: String) {
    let keys = ["policy", "app", "app.cpu", "app.memory", "cpu.min", "memory.max", "priority"]
    for key in keys + [phrase, "policy/\(phrase)", "cpu.max/\(phrase)"] {
      let said = sentence {
        _ = try resolve(
          [key: phrase, "io.kubernetes.container.name": phrase], invocationDefault: .reactive)
      }
      #expect(said != "nothing was wrong")
      #expect(!said.lowercased().contains(phrase))
    }
  }

  @Test(arguments: phrases)
  func `no config can make a sentence say it`(phrase: String) {
    for key in ["law", "defaultPolicy", "onFailure", "reservedCPUs", "hostMemoryReserve", phrase] {
      let said = sentence { _ = try parse("{\"\(key)\": \"\(phrase)\"}") }
      #expect(said != "nothing was wrong")
      #expect(!said.lowercased().contains(phrase))
    }
  }
}
