// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import LiveLimits
@testable import Quantities
@testable import State
@testable import escra

@Suite struct ReleaseSentenceTests {
  private func text(_ limits: LimitsInForce, memory: Int64? = 512 << 20) -> String {
    ReleaseSentence(
      exampleState {
        $0.memory = MemoryBase(
          declared: memory, floor: 1 << 20, explicitCeiling: nil, limit: 1 << 40)
      }, limits
    ).text
  }

  @Test func `says what is in force`() {
    #expect(
      text(LimitsInForce(cpu: CFSBandwidth(quota: 100_000), memory: 512 << 20))
        == "web is released: its CPU limit is 1.00 cores; its memory limit is 512Mi.")
    #expect(text(LimitsInForce()) == "web is released.")
    #expect(
      text(LimitsInForce(memory: MemoryLimit.unlimited), memory: nil)
        == "web is released: its memory limit is none.")
  }

  @Test func `says what could not be given back, and why`() {
    #expect(
      text(LimitsInForce(cpu: CFSBandwidth(quota: 50_000), memory: 1 << 30))
        == "web is released: its CPU limit stays at 0.50 cores, because the kernel refused the "
        + "1.00 cores that it declares; its memory limit stays at 1Gi, because it uses more than the "
        + "512Mi that it declares; update it when it uses less.")
  }

  @Test func `a list shows who was released, of no application and with no CPUs of its own`() {
    let report = exampleReport {
      $0.supervisor = nil
      $0.isReleased = true
      $0.app = "shop"
    }
    let lines = Table.list(of: [report]).lines
    #expect(lines.last?.hasSuffix("(released)") == true)
    #expect(lines.last?.contains("shop") == false)
    #expect(report.json.text.contains("\"released\": true"))
    #expect(
      Explanation(
        state: exampleState(), report: report, entries: [], limitAbove: nil, cpus: 2
      ).heading.last?.contains("escra adopt") == true)
  }
}
