// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Application
@testable import State
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
    #expect(
      diagnosis.lines().dropLast().last == "Its demand for memory is detected by: \(source).")
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
    #expect(diagnosis.conclusion.contains("detected by: \(source). So "))
    #expect(diagnosis.json.text.contains("\"source\": \"\(source)\""))
  }

  @Test func `whoever is not root is told what could not be tried, and nothing is concluded`() {
    var diagnosis = diagnosis(bpf: "EPERM", memory: "ENOTSUPP", perf: "EACCES")
    diagnosis.checks = [.warning("x", "A remark.")]
    diagnosis.admitNotRoot()
    #expect(
      diagnosis.problems == [
        "this user is not root, so escra doctor could not try tp_btf/sched_stat_runtime, "
          + "tp_btf/sched_wakeup, perf; run it as root"
      ])
    let lines = diagnosis.lines()
    #expect(lines.first?.hasSuffix("  A remark.") == true && !lines.contains(""))
    #expect(lines[2].hasSuffix("  not known: only root can try it: is of use"))
    #expect(lines[4].contains("no (ENOTSUPP): costs something"))
    for part in ["\"source\": null", "\"memorySource\": null", "\"works\": null"] {
      #expect(diagnosis.json.text.contains(part))
    }
  }

  @Test func `what is missing is told with why and what it costs`() {
    let lines = diagnosis(bpf: "EPERM", perf: nil).lines()
    #expect(
      lines[0] == "warning  tp_btf/sched_stat_runtime       no (EPERM): costs something")
    #expect(lines[2] == "ok       fentry/page_counter_try_charge  is of use")
    let free = Finding(name: "x", use: "u", failure: "ENOENT", instead: "not needed here")
    #expect(free.check == .ok("x", "no (ENOENT): not needed here"))
  }

  @Test func `the last line is the answer`() {
    var diagnosis = diagnosis(bpf: nil, perf: nil)
    #expect(diagnosis.lines().last == "It will work here.")
    diagnosis.perf = finding("perf", "EACCES")
    #expect(diagnosis.lines().last == "It will work here, with 1 warning above.")
    diagnosis.checks = [.warning("a", "b"), .problem("c", "d"), .problem("e", "f")]
    #expect(
      diagnosis.lines().last
        == "It will not work here as it is: 2 problems, with 2 warnings above.")
    diagnosis.admitNotRoot()
    #expect(diagnosis.lines().allSatisfy { !$0.contains("will") }, "no answer without a try")
  }

  @Test func `on a terminal sentences are wrapped beside their names`() {
    let checks = [
      Check.ok("a", "b"), .problem("Docker", String(repeating: "word ", count: 20) + "end"),
    ]
    let lines = Check.lines(checks, columns: 60)
    #expect(lines[0] == "ok       a       b" && lines.count == 4)
    #expect(lines[1].hasPrefix("problem  Docker  word word"))
    #expect(lines[3].hasPrefix("                 word") && lines[3].hasSuffix(" end"))
    #expect(lines.allSatisfy { $0.count <= 60 })
    #expect(Check.lines(checks, columns: nil).count == 2)
  }

  @Test func `what engines' configs lack is told`() throws {
    let plugin = "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes"
    let toml = try TOMLText(
      """
      [\(plugin).runc.options]
      SystemdCgroup = true
      [\(plugin).escra]
      pod_annotations = ["io.escra.*"]
      container_annotations = ["io.escra.*", "io.escra.*/*"]
      [\(plugin).escra.options]
      BinaryName = "/usr/bin/escra-runc"
      [\(plugin).escra-strict.options]
      BinaryName = "/usr/bin/escra-runc.strict"
      SystemdCgroup = true
      [\(plugin).nvidia.options]
      BinaryName = "/usr/bin/nvidia"
      """, path: "c")
    let containerd = Registration(.containerd, [toml])
    #expect(containerd.runtimes.map(\.name) == ["escra", "escra-strict"])
    let faults = containerd.faults(.containerd) { $0.hasSuffix(".strict") ? "ENOENT" : nil }
    #expect(faults.map(\.level) == [.problem, .problem, .problem])
    #expect(faults[0].sentence.contains("patterns io.escra.*/*, so policies of pods are ignored"))
    #expect(faults[1].sentence.contains("SystemdCgroup = false and runc has true"))
    #expect(faults[2].sentence.contains("escra-runc.strict, which cannot be executed (ENOENT)"))
    let crio = try TOMLText(
      """
      [crio.runtime.runtimes.escra]
      runtime_path = "/usr/bin/escra-runc"
      allowed_annotations = ["io.escra."]
      """, path: "c")
    let refused = Registration(.crio, [crio]).faults(.crio) { _ in nil }
    #expect(refused.map(\.sentence)[0].contains("allowed_annotations has io.escra."))
    let docker = try Registration(
      docker: #"{"runtimes": {"x": {"path": "/opt/escra-runc"}, "y": {"path": "/usr/bin/runc"}}}"#)
    #expect(docker.runtimes == [.init(name: "x", path: "/opt/escra-runc")])
    #expect(docker.faults(.docker) { _ in nil } == [])
  }
}
