// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Control
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// `escra replay`.
struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Show what would have happened to a traced container under other limits.",
    discussion: """
      io.escra.record: trace keeps how much CPU time a container used in each quarter of a period. \
      What it used comes again when it came, and a model of the kernel's bandwidth control works it \
      off under each candidate: no limit, the recommended one, those named by --static, and the laws.
      """)

  /// How a replay is printed.
  enum Format: String, CaseIterable, ExpressibleByArgument {
    case table, json, svg
  }

  @OptionGroup var options: HistoryOptions

  @Argument(
    help: "The profile, whose last trace is taken: NAME or NAMESPACE/NAME; or a trace's file.")
  var source: String

  @Option(help: "A law that moves the limit: headroom or escra; may be repeated.")
  var law: [String] = []

  @Option(name: .customLong("static"), help: "A static limit, such as 500m; may be repeated.")
  var fixed: [String] = []

  @Option(name: .customLong("cpu-min"), help: "The minimum of a law's limit; else 50m.")
  var cpuMinimum: String?

  @Option(name: .customLong("cpu-max"), help: "The maximum of a law's limit; else what it can use.")
  var cpuMaximum: String?

  @Option(
    name: .customLong("memory-max"),
    help: "A memory limit of which near misses are counted, such as 128Mi; may be repeated.")
  var memoryMaximum: [String] = []

  @Option(name: .customLong("as"), help: "The form of the output: table, json or svg.")
  var format = Format.table

  func run() throws {
    let (trace, run, recommended) = try load()
    let replay = Replay(trace)
    let candidates = try candidates(replay, recommended)
    let memory = try memoryMaximum.map {
      try quantity($0, "--memory-max", ByteQuantity.init(_:)).bytes
    }
    if !memory.isEmpty, run == nil {
      throw Complaint("--memory-max needs the record of the run, and \(source) is a trace alone")
    }
    let report = ReplayReport(
      trace: trace, rows: candidates.map { ($0.name, replay.outcome(of: $0.candidate)) },
      memory: run.map { run in memory.map { NearMisses(run, limit: $0) } } ?? [])
    switch format {
    case .table: try Output.write(lines: report.lines)
    case .json: try Output.write(lines: [report.json.text])
    case .svg: try Output.write(lines: report.svg)
    }
  }

  private func candidates(
    _ replay: Replay, _ recommended: Int64?
  ) throws -> [(name: String, candidate: Replay.Candidate)] {
    func limit(_ text: String, _ option: String) throws -> Int64 {
      try quantity(text, option) { text throws(QuantityError) in
        try CPUAmount(text)
      }
      .nanocores
    }
    let floor = try cpuMinimum.map { try limit($0, "--cpu-min") } ?? 50_000_000
    let ceiling = try cpuMaximum.map { try limit($0, "--cpu-max") } ?? replay.most
    if floor > ceiling { throw Complaint("--cpu-min is above --cpu-max; write at most that") }
    var found: [(String, Replay.Candidate)] = [("no limit", .init(limit: replay.most))]
    if let recommended {
      found.append(("recommended \(cores(Double(recommended) / 1e9))", .init(limit: recommended)))
    }
    for text in fixed {
      let limit = try limit(text, "--static")
      found.append(("static \(cores(Double(limit) / 1e9))", .init(limit: limit)))
    }
    let laws = law.isEmpty && fixed.isEmpty ? ["headroom"] : law
    for name in laws {
      guard LawName(rawValue: name) != nil else {
        let known = LawName.allCases.map(\.rawValue).joined(separator: " or ")
        throw Complaint("--law \"\(name)\" is no control law; write \(known)")
      }
      found.append(
        (name, .init(law: .init(named: name), limit: ceiling, bounds: (floor, ceiling))))
    }
    return found
  }

  private func quantity<Value>(
    _ text: String, _ option: String, _ read: (String) throws(QuantityError) -> Value
  ) throws(Complaint) -> Value {
    do throws(QuantityError) { return try read(text) } catch {
      throw Complaint("\(option) \"\(text)\" \(error.description)")
    }
  }

  /// The trace; the run that it is of, and what is recommended for its profile, if they are known.
  private func load() throws -> (DemandTrace, RunRecord?, Int64?) {
    let isFile = source.utf8.contains(UInt8(ascii: "/")) && access(source, F_OK) == 0
    let profile = isFile ? nil : try options.profile(source)
    guard let path = isFile ? source : profile?.traces.last else {
      throw Complaint(
        "\(source) has no trace; write io.escra.record: trace beside io.escra.profile, and run it")
    }
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileDescriptor.open(path, O_RDONLY).readAll(limit: 16 << 20)
    } catch { throw Complaint(error.description) }
    guard let trace = DemandTrace(decoding: bytes), !trace.pieces.isEmpty else {
      throw Complaint("\(path) is no trace, or one of a container that has used no CPU time yet")
    }
    let nonce = path.split(separator: "-").last.flatMap { UInt64($0, radix: 36) }
    let runs = profile?.runs ?? []
    let recommendation = Recommendation(Profile(runs, now: wallClockNow()))
    return (
      trace, runs.first { $0.total.nonce == nonce }?.total, recommendation?.cpuLimit.target
    )
  }
}
