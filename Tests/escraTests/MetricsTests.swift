// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Control
@testable import OCISpec
@testable import State
@testable import escra

@Suite struct MetricsTests {
  private func example(_ change: (inout ContainerMetrics) -> Void = { _ in }) -> ContainerMetrics {
    var metrics = ContainerMetrics(
      id: "web", root: "/run/runc", policy: .reactive, state: .supervised,
      cpuDeclared: 500_000_000)
    metrics.kernel = ContainerMetrics.Kernel(cpuLimit: 50_000_000, cpuUsage: 1_000_000_001)
    change(&metrics)
    return metrics
  }

  private func lines(
    _ containers: [ContainerMetrics], _ format: MetricFormat = .prometheus
  ) -> [String] {
    NodeMetrics(version: "1", containers: containers, applications: []).text(format)
      .split(separator: "\n").map(String.init)
  }

  private static let labels = #"{id="web",name="web",policy="reactive",root="/run/runc"}"#

  @Test func `Prometheus describes the series' names`() {
    let lines = lines([example()])
    #expect(lines.contains("# TYPE escra_container_cpu_usage_seconds_total counter"))
    #expect(lines.contains("escra_container_cpu_usage_seconds_total\(Self.labels) 1.000000001"))
    #expect(lines.contains("# TYPE escra_build_info gauge"))
    #expect(lines.contains(#"escra_build_info{version="1"} 1"#))
    #expect(lines.allSatisfy { !$0.hasPrefix("# UNIT") && $0 != "# EOF" })
  }

  @Test func `OpenMetrics describes the family and its unit, and says where it ends`() {
    let lines = lines([example()], .openMetrics)
    let start = lines.firstIndex(of: "# TYPE escra_container_cpu_usage_seconds counter") ?? 0
    #expect(lines[start + 1] == "# UNIT escra_container_cpu_usage_seconds seconds")
    #expect(lines[start + 2].hasPrefix("# HELP escra_container_cpu_usage_seconds CPU time"))
    #expect(lines[start + 3].hasPrefix("escra_container_cpu_usage_seconds_total{"))
    #expect(lines.contains("# TYPE escra_build info"))
    #expect(lines.last == "# EOF")
  }

  @Test func `what is not known has no series, and a family without any is left out`() {
    let lines = lines([example { $0.kernel = nil }])
    #expect(lines.contains("escra_container_cpu_declared_cores\(Self.labels) 0.500000000"))
    #expect(lines.allSatisfy { !$0.contains("cpu_limit_cores") && !$0.contains("oom_kills") })
  }

  @Test func `a counter that an earlier version has not kept is not 0`() {
    var counters = CPUController.Counters()
    counters.raises = 3
    let old = lines([example { $0.counters = counters }])
    #expect(old.contains("escra_container_cpu_limit_raises_total\(Self.labels) 3"))
    #expect(old.allSatisfy { !$0.contains("restarts") && !$0.contains("memory_limit_raises") })
    counters.supervisors = 2
    counters.memoryRefusals = 7
    let new = lines([example { $0.counters = counters }])
    #expect(new.contains("escra_container_supervisor_restarts_total\(Self.labels) 1"))
    #expect(new.contains("escra_container_memory_limit_refusals_total\(Self.labels) 7"))
  }

  @Test func `the limit of a strict container does not move`() {
    var counters = CPUController.Counters()
    counters.supervisors = 1
    let lines = lines([
      example {
        $0.policy = .strict
        $0.counters = counters
        $0.ownCPUs = 2
      }
    ])
    #expect(lines.allSatisfy { !$0.contains("cpu_limit_raises") && !$0.contains("stalled") })
    #expect(
      lines.contains { $0.hasPrefix("escra_container_exclusive_cpus{") && $0.hasSuffix(" 2") })
  }

  @Test func `series have the order of the containers, and none comes twice`() {
    let lines = lines([
      example(), example { $0.kernel?.cpuLimit = 1 }, example { $0.id = "web2" },
    ]).filter { $0.hasPrefix("escra_container_cpu_limit_cores{") }
    #expect(
      lines.map { $0.suffix(11) } == ["0.050000000", "0.050000000"]
        && lines[0].contains("\"web\"") && lines[1].contains("\"web2\""))
  }

  @Test func `containers are counted by what becomes of them`() {
    let lines = lines([
      example(), example { $0.state = .unsupervised }, example { $0.state = .released },
    ])
    #expect(lines.contains(#"escra_containers{state="supervised"} 1"#))
    #expect(lines.contains(#"escra_containers{state="starting"} 0"#))
  }

  @Test(
    arguments: [
      ("plain", "plain"), (#"a"b"#, #"a\"b"#), ("a\\b", #"a\\b"#), ("a\nb", #"a\nb"#),
      ("é\r\n\u{1}", "é\r\\n\u{1}"),
    ])
  func `label values are escaped`(value: String, escaped: String) {
    #expect(MetricLabels([("x", value)]).text == "{x=\"\(escaped)\"}")
  }

  @Test func `labels without a value are left out`() {
    #expect(MetricLabels([("a", nil), ("b", ""), ("c", "1")]).text == #"{c="1"}"#)
    #expect(MetricLabels([("a", nil)]).text == "")
  }

  @Test func `an application without a known limit has none`() {
    let application = ApplicationMetrics(
      name: "shop", namespace: "prod", root: "/r", members: 2,
      cpu: ApplicationMetrics.Amount(limit: nil, granted: 300_000_000, declared: 500_000_000))
    let text = NodeMetrics(version: "1", containers: [], applications: [application])
      .text(.prometheus)
    #expect(
      text.contains(
        #"escra_application_cpu_granted_cores{application="shop",namespace="prod",root="/r"} 0.3"#))
    #expect(!text.contains("application_cpu_limit") && !text.contains("application_memory"))
  }

  @Test(
    arguments: [
      ("unix:/run/escra.sock", true), ("127.0.0.1:9469", true), ("127.8.0.1:1", true),
      ("[::1]:65535", true), ("0.0.0.0:9469", false), ("10.0.0.1:9469", false),
      ("[::]:9469", false), ("[::ffff:127.0.0.1]:9469", false), ("::1:9469", false),
      ("localhost:9469", false), ("127.0.0.1", false), ("127.0.0.1:0", false),
      ("127.0.0.1:65536", false), ("9469", false), ("", false), ("unix:relative", false),
      ("unix:/" + String(repeating: "x", count: 107), false),
    ])
  func `only a loopback address or a Unix socket is listened on`(text: String, isTaken: Bool) {
    #expect(((try? ListenAddress(typed: text)) != nil) == isTaken)
  }

  @Test func `a request is answered once its head is complete`() {
    func answer(_ text: String) -> MetricsAnswer? { MetricsAnswer(to: Array(text.utf8)) }
    #expect(answer("") == nil && answer("GET /metrics HTTP/1.1\r\nHost: x\r\n") == nil)
    #expect(
      answer("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == .metrics(.prometheus, hasBody: true))
    #expect(
      answer("HEAD /metrics?a=b HTTP/1.0\nACCEPT: text/plain,application/OpenMetrics-text;q=1\n\n")
        == .metrics(.openMetrics, hasBody: false))
    #expect(answer("GET / HTTP/1.1\r\n\r\n") == .failure("404 Not Found"))
    #expect(answer("POST /metrics HTTP/1.1\r\n\r\n") == .failure("405 Method Not Allowed"))
    #expect(answer("\r\n\r\n") == .failure("400 Bad Request"))
    #expect(
      answer(String(repeating: "x", count: 8192))
        == .failure("431 Request Header Fields Too Large"))
  }

  @Test func `an answer has the length of its body, and HEAD has none`() {
    let get = MetricsAnswer.metrics(.openMetrics, hasBody: true).bytes { _ in Array("12345".utf8) }
    let text = String(decoding: get, as: UTF8.self)
    #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n") && text.hasSuffix("\r\n\r\n12345"))
    #expect(text.contains("Content-Length: 5\r\n"))
    let head = MetricsAnswer.metrics(.openMetrics, hasBody: false).bytes { _ in Array("1".utf8) }
    #expect(String(decoding: head, as: UTF8.self).hasSuffix("close\r\n\r\n"))
  }

  @Test func `what is read of a state directory is what is written there`() throws {
    let path = "/tmp/escra-metrics-\(getpid())-\(UInt32.random(in: 0...(.max)))"
    defer {
      rmdir(path + "/containers")
      rmdir(path)
    }
    let root = StateRoot(path: path)
    let directory = try StateDirectory.create(in: root, root: "/r", id: "web")
    defer { directory.remove() }
    try directory.save(exampleState { $0.phase = .starting })
    let starting = try #require(MetricsReader(root: root).read().containers.first)
    #expect(starting.state == .starting && starting.kernel == nil)
    #expect(starting.cpuDeclared == 1_000_000_000 && starting.cpuMost == 2_000_000_000)
    try directory.save(exampleState { $0.unsupervised = "why" })
    try directory.mark(.done)
    // A running container whose cgroup is gone has ended.
    #expect(MetricsReader(root: root).read().containers.isEmpty)
  }
}
