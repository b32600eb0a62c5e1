// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// One of the two containers of `escra demo`: this program in an empty file system.
final class DemoContainer {
  let title: String
  private let id: String
  private let directory: String
  private let runtime: String
  private var pid: pid_t = 0
  private var pipe: CInt = -1
  private var text: [UInt8] = []
  private var probe: CgroupProbe?
  private var first: (time: Nanoseconds, usage: Nanoseconds)?
  private var last: (time: Nanoseconds, usage: Nanoseconds)?
  private var drawn: (time: Nanoseconds, usage: Nanoseconds)?
  private var reserved = 0.0

  /// The latencies of the requests that it has served.
  private(set) var latencies: [Nanoseconds] = []
  /// Use and limit over time.
  private(set) var samples: [Chart.Sample] = []
  private(set) var totals = WatchTotals(throttled: 0)
  /// Whether it has served all requests.
  private(set) var hasEnded = false

  /// Makes the bundle.
  ///
  /// - Parameters:
  ///   - title: What it is called on the screen.
  ///   - annotations: Of config.json.
  ///   - parent: A directory for its bundle.
  ///   - runtime: The path of escra-runc.
  ///   - seconds: For how long requests arrive.
  /// - Throws: ``Complaint`` where the bundle cannot be written.
  init(
    _ title: String, annotations: [(String, String)], in parent: String, runtime: String,
    seconds: Int
  ) throws(Complaint) {
    self.title = title
    self.runtime = runtime
    id = "escra-demo-\(getpid())-\(title)"
    directory = parent + "/" + title
    let resolved = realpath("/proc/self/exe", nil)
    defer { free(resolved) }
    let config = Self.config(
      program: resolved.map { String(cString: $0) } ?? "", id: id, annotations, seconds: seconds)
    for path in [directory, directory + "/rootfs"] { mkdir(path, 0o755) }
    try FileChange(path: directory + "/config.json", before: nil, after: config.text).apply()
  }

  private static func config(
    program: String, id: String, _ annotations: [(String, String)], seconds: Int
  ) -> JSON {
    func mount(_ target: String, _ type: String, _ source: String, _ options: [String]) -> JSON {
      .object([
        ("destination", .string(target)), ("type", .string(type)), ("source", .string(source)),
        ("options", .array(options.map { .string($0) })),
      ])
    }
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map {
      JSON.object([("type", .string($0))])
    }
    let arguments = ["/escra", "demo-load", "\(seconds)"].map { JSON.string($0) }
    let cpu = JSON.object([
      ("quota", .integer(Int64(DemoLoad.declared * 100_000))), ("period", .integer(100_000)),
    ])
    return .object([
      ("ociVersion", .string("1.0.2")),
      (
        "process",
        .object([
          ("cwd", .string("/")), ("args", .array(arguments)), ("noNewPrivileges", .bool(true)),
          ("user", .object([("uid", .integer(0)), ("gid", .integer(0))])),
        ])
      ),
      ("root", .object([("path", .string("rootfs")), ("readonly", .bool(false))])),
      (
        "mounts",
        .array([
          mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
          // Devices go with it, not into the bundle.
          mount("/dev", "tmpfs", "tmpfs", ["nosuid", "noexec", "mode=755"]),
          mount("/escra", "bind", program, ["bind", "ro"]),
        ])
      ),
      ("annotations", .object(annotations.map { ($0.0, .string($0.1)) })),
      (
        "linux",
        .object([
          ("cgroupsPath", .string("/" + id)), ("namespaces", .array(namespaces)),
          ("resources", .object([("cpu", cpu)])),
        ])
      ),
    ])
  }

  /// Starts it.
  func start() throws(Complaint) {
    var ends: [CInt] = [-1, -1]
    guard Glibc.pipe(&ends) == 0 else { throw Complaint("there is no descriptor for a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    defer { close(ends[1]) }
    pipe = ends[0]
    let started = Program.spawn(
      runtime,
      [
        "--root", directory + "/root", "run", "--bundle", directory, "--pid-file",
        directory + "/pid", id,
      ], output: ends[1], errors: directory + "/errors")
    guard let started else { throw Complaint("\(runtime) could not be started") }
    pid = started
  }

  /// What its runtime complained of; nil where it did not.
  var complaint: String? {
    let text = FileDescriptor.textIfReadable(of: directory + "/errors") ?? ""
    return text.split(separator: "\n").last.map { Table.printable(String($0)) }
  }

  /// Reads what it has written, and its cgroup.
  func look() {
    read()
    if probe == nil { probe = findProbe() }
    guard let probe, let usage = probe.usage else { return }
    let now = monotonicNow()
    let limit = probe.cpuLimit.value ?? DemoLoad.most
    guard let first, let last else {
      (first, last, drawn) = ((now, usage), (now, usage), (now, usage))
      totals = WatchTotals(throttled: probe.throttled ?? 0)
      return
    }
    reserved += limit * Double(now - last.time)
    self.last = (now, usage)
    totals.take(used: usage - first.usage, reserved: reserved, elapsed: now - first.time)
    if let throttled = probe.throttled { totals.throttledEnd = throttled }
  }

  /// Takes note of the use since the last sample.
  func sample() {
    guard let probe, let last, let drawn, last.time > drawn.time else { return }
    let used = Double(last.usage - drawn.usage) / Double(last.time - drawn.time)
    samples.append(
      Chart.Sample(used: used, limit: probe.cpuLimit.value ?? samples.last?.limit ?? 0))
    self.drawn = last
  }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(pipe, &buffer, buffer.count)
      if count == 0 { hasEnded = true }
      guard count > 0 else { break }
      text += buffer[..<count]
    }
    while let end = text.firstIndex(of: 10) {
      if let latency = Int64(String(decoding: text[..<end], as: UTF8.self)) {
        latencies.append(latency)
      }
      text.removeFirst(end + 1)
    }
  }

  /// A supervised container is found by its state, the other one by its init.
  private func findProbe() -> CgroupProbe? {
    if let sight = Observer(.configured).look().first(where: { $0.state.id == id }) {
      return CgroupProbe(sight.state)
    }
    guard title != "reactive", let init1 = FileDescriptor.textIfReadable(of: directory + "/pid"),
      let groups = FileDescriptor.textIfReadable(of: "/proc/\(init1)/cgroup"),
      let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
      let location = CgroupLocation(membership: groups, mounts: mounts), location.isNamed(id)
    else { return nil }
    return CgroupProbe(location)
  }

  /// Ends and removes it.
  func remove() {
    _ = Program.run(runtime, ["--root", directory + "/root", "delete", "--force", id])
    if pid > 0 {
      var status: CInt = 0
      waitpid(pid, &status, 0)
    }
    if pipe >= 0 { close(pipe) }
    for path in ["/config.json", "/pid", "/errors", "/rootfs/escra"] { unlink(directory + path) }
    for path in ["/rootfs/proc", "/rootfs/dev", "/rootfs", "/root", ""] { rmdir(directory + path) }
  }
}
