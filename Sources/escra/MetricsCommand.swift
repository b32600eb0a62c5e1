// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Glibc
internal import Syscalls

/// `escra metrics`.
struct MetricsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Write or serve the metrics of all containers.",
    discussion: """
      Without an option the metrics are printed once, in the text format that Prometheus and the \
      node exporter's textfile collector read. Files and cgroups are read, and no supervisor is \
      woken. A value that is not known is left out.
      """)

  @OptionGroup var common: CommonOptions

  @Option(
    help: ArgumentHelp(
      "Replace this file with the metrics, for the textfile collector.", valueName: "file"))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "Serve them over HTTP at /metrics: unix:/PATH, 127.0.0.1:PORT or [::1]:PORT.",
      valueName: "address"))
  var listen: String?

  @Flag(name: .customLong("openmetrics"), help: "Write OpenMetrics, which not all readers know.")
  var openMetrics = false

  func validate() throws {
    if listen != nil, output != nil || openMetrics {
      throw ValidationError("--listen goes with neither --output nor --openmetrics")
    }
  }

  func run() throws {
    let reader = MetricsReader(root: try common.stateRoot)
    if let listen { return try serve(reader, at: ListenAddress(typed: listen)) }
    let text = reader.read().text(openMetrics ? .openMetrics : .prometheus)
    guard let output else { return try Output.write(text) }
    try Self.replace(output, with: text)
  }

  private func serve(_ reader: MetricsReader, at address: ListenAddress) throws(Complaint) {
    let server = MetricsServer(on: try address.listen()) { reader.read() }
    defer { if let path = address.path { unlink(path) } }
    do throws(SystemError) { try server.run() } catch { throw Complaint(error.description) }
  }

  /// Replaces a file by rename: its readers see the old text or the new one.
  ///
  /// - Throws: ``Complaint``; the old file is still there then, and nothing beside it.
  static func replace(_ path: String, with text: String) throws(Complaint) {
    // The textfile collector reads what ends in .prom.
    let temporary = "\(path).\(getpid())"
    do throws(SystemError) {
      let file = try FileDescriptor.open(
        temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
      try file.write(text)
      // Whatever the umask is: the collector is not root.
      try retrying("make readable", temporary) { fchmod(file.number, 0o644) }
      try retrying("replace", path) { rename(temporary, path) }
    } catch {
      unlink(temporary)
      throw Complaint("\(error.description); \(path) is what it was")
    }
  }
}
