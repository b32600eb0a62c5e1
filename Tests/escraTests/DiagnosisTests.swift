// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct DiagnosisTests {
  private func finding(_ name: String, _ failure: String? = nil) -> Finding {
    Finding(name: name, use: "is of use", failure: failure, instead: "costs something")
  }

  private func diagnosis(bpf: String?, perf: String?) -> Diagnosis {
    Diagnosis(
      prediction: finding("tp_btf/sched_stat_runtime", bpf),
      nets: [finding("tp_btf/sched_wakeup", bpf)], perf: finding("perf", perf), others: [])
  }

  @Test(arguments: [
    (nil, nil, "bpf"), (nil, "EACCES", "bpf"), ("EPERM", nil, "perf, sampling"),
    ("EPERM", "EACCES", "sampling"),
  ])
  func `the best that works is what a container gets`(
    bpf: String?, perf: String?, source: String
  ) {
    let diagnosis = diagnosis(bpf: bpf, perf: perf)
    #expect(diagnosis.source == source)
    #expect(diagnosis.conclusion.contains("heard of by: \(source). So "))
    #expect(diagnosis.json.text.contains("\"source\": \"\(source)\""))
  }

  @Test func `what is missing is told with why and what it costs`() {
    let lines = diagnosis(bpf: "EPERM", perf: nil).lines
    #expect(lines[0] == "WHAT                       WORKS       MEANS")
    #expect(lines[1] == "tp_btf/sched_stat_runtime  no (EPERM)  costs something")
    #expect(lines[3] == "perf                       yes         is of use")
  }
}
