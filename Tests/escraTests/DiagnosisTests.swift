// SPDX-License-Identifier: Apache-2.0
import LiveLimits
import Testing

@testable import escra

@Suite struct DiagnosisTests {
  private func finding(_ name: String, _ failure: String? = nil) -> Finding {
    Finding(name: name, use: "is of use", failure: failure, instead: "costs something")
  }

  private func diagnosis(
    bpf: String?, memory: String? = nil, hasLine: Bool = true, perf: String?
  ) -> Diagnosis {
    Diagnosis(
      prediction: finding("tp_btf/sched_stat_runtime", bpf),
      nets: [finding("tp_btf/sched_wakeup", bpf)],
      memory: finding("fentry/page_counter_try_charge", memory), hasLine: hasLine,
      perf: finding("perf", perf), others: [])
  }

  @Test(arguments: [
    (nil, nil, true, "bpf"), (nil, "ENOTSUPP", true, "events, sampling"),
    ("EPERM", nil, true, "events, sampling"), (nil, nil, false, "thresholds"),
  ])
  func `memory has the best that works, too`(
    bpf: String?, memory: String?, hasLine: Bool, source: String
  ) {
    let diagnosis = diagnosis(bpf: bpf, memory: memory, hasLine: hasLine, perf: nil)
    #expect(diagnosis.memorySource.rawValue == source)
    #expect(diagnosis.lines.last == "That its memory limit has to move is heard of by: \(source).")
    #expect(diagnosis.json.text.contains("\"memorySource\": \"\(source)\""))
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

  @Test func `whoever is not root is told what could not be tried, and nothing is concluded`() {
    var diagnosis = diagnosis(bpf: "EPERM", memory: "ENOTSUPP", perf: "EACCES")
    diagnosis.remarks = ["A remark."]
    diagnosis.admitNotRoot()
    #expect(
      diagnosis.problems == [
        "this user is not root, so escra doctor could not try tp_btf/sched_stat_runtime, "
          + "tp_btf/sched_wakeup, perf; run it as root"
      ])
    #expect(diagnosis.lines.last == "A remark.")
    #expect(
      diagnosis.lines[1].hasSuffix("  not known      only root can try it: is of use"))
    #expect(diagnosis.lines[3].contains("no (ENOTSUPP)"))
    for part in ["\"source\": null", "\"memorySource\": null", "\"works\": null"] {
      #expect(diagnosis.json.text.contains(part))
    }
  }

  @Test func `what is missing is told with why and what it costs`() {
    let lines = diagnosis(bpf: "EPERM", perf: nil).lines
    #expect(lines[0] == "WHAT                            WORKS       MEANS")
    #expect(lines[1] == "tp_btf/sched_stat_runtime       no (EPERM)  costs something")
    #expect(lines[3] == "fentry/page_counter_try_charge  yes         is of use")
    #expect(lines[4] == "perf                            yes         is of use")
  }
}
