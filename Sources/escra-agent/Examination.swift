// SPDX-License-Identifier: Apache-2.0
internal import OCISpec
internal import Quantities
internal import Syscalls

/// What `escra doctor` has the agent look at: engine, certificates, clock.
///
/// Each finding is a line: ok, warning or problem; what was looked at; a sentence; with tabs between.
final class Examination {
  private let loop: EventLoop
  private let client: HTTPClient
  private let cluster: ClusterConfig
  private var open = 0

  init(loop: EventLoop, client: HTTPClient, cluster: ClusterConfig) {
    self.loop = loop
    self.client = client
    self.cluster = cluster
  }

  /// Looks at everything, and prints what was found.
  func run() throws(SystemError) {
    clock()
    if let file = cluster.cert { certificate(file) }
    for address in cluster.endpoints { ask(address) }
    if open > 0 { try loop.run() }
  }

  private func say(_ level: String, _ name: String, _ sentence: String) {
    print("\(level)\t\(name)\t\(sentence)")
  }

  private func clock() {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    let source = (FileDescriptor.textIfReadable(of: path) ?? "").prefix { $0 != "\n" }
    if source == "jiffies" || source == "refined-jiffies" {
      say(
        "warning", "clock",
        "the kernel's clock source is \(source), which loses ticks, so a share may be used for too "
          + "long; boot with another clocksource=")
    } else {
      say("ok", "clock", "the kernel's clock source is \(source.isEmpty ? "unknown" : source)")
    }
  }

  private func certificate(_ path: String) {
    guard let text = FileDescriptor.textIfReadable(of: path), let end = CertificateEnd.of(pem: text)
    else {
      say("problem", "certificate", "cluster.cert \(path) is no certificate; write one in PEM")
      return
    }
    let moment = rfc3339(end * 1_000_000_000)
    let left = end - wallClockNow() / 1_000_000_000
    if left <= 0 {
      say("problem", "certificate", "cluster.cert \(path) has ended at \(moment); renew it")
    } else if left < 7 * 86_400 {
      say(
        "warning", "certificate",
        "cluster.cert \(path) ends at \(moment), in \(left / 86_400) days; renew it")
    } else {
      say("ok", "certificate", "cluster.cert \(path) ends at \(moment)")
    }
  }

  private func ask(_ address: String) {
    open += 1
    let start = loop.now
    client.send(HTTPRequest(method: "GET", url: address + "/version"), patience: 2000) {
      [self] outcome in
      judge(address, outcome, after: loop.now - start)
      open -= 1
      if open == 0 { loop.end() }
    }
  }

  private func judge(_ address: String, _ outcome: HTTPOutcome, after time: Nanoseconds) {
    let milliseconds = time / 1_000_000
    switch outcome {
    case .response(200, let body):
      guard let version = Self.version(body, cluster.engine) else {
        say(
          "problem", "engine",
          "\(address) answers, and is no \(cluster.engine.rawValue); write another endpoint")
        return
      }
      say(
        "ok", "engine",
        "\(address) is \(cluster.engine.rawValue) \(version) and answers in \(milliseconds) ms")
    // An API server may keep its version to those it knows.
    case .response(let status, _) where cluster.engine == .kubernetes && status != 404:
      say("ok", "engine", "\(address) answers in \(milliseconds) ms (HTTP status \(status))")
    case .response(let status, let body):
      say("problem", "engine", "\(address): \(engineComplaint(status, body))")
    case .notSent(let text), .lost(let text):
      say(
        "problem", "engine",
        "\(address) does not answer (\(text)); nodes keep their minimum until one endpoint does")
    }
  }

  private static func version(_ body: [UInt8], _ engine: ClusterConfig.Engine) -> String? {
    guard let json = JSONValue.ifValid(body) else { return nil }
    return json.text(engine == .etcd ? "etcdserver" : "gitVersion")
  }
}
