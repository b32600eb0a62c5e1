// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hooks
import Syscalls
import Testing

@testable import LiveLimits

private let ms: Nanoseconds = 1_000_000
private let hierarchy = "/sys/fs/cgroup/memory"

private var canMakeGroups: Bool {
  getuid() == 0 && access(hierarchy + "/cgroup.event_control", W_OK) == 0
    && access("/usr/bin/python3", X_OK) == 0
}

/// Touches memory at full speed and lets it go again, at random moments, for ever.
private let allocator = """
  import ctypes, mmap, random, time
  pages = mmap.mmap(-1, 32 << 20)
  start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
  time.sleep(0.5)
  while True:
      ctypes.memset(start, 1, random.randrange(8, 32) << 20)
      time.sleep(random.random() * 0.001)
      pages.madvise(mmap.MADV_DONTNEED)
      time.sleep(random.random() * 0.012)
  """

/// `ESCRA_SHRINKS=10000` races as many.
private let rounds = getenv("ESCRA_SHRINKS").flatMap { Int(String(cString: $0)) } ?? 300

/// A group of the kernel's with an allocator in it, and our reading, law and writer around it.
private final class RealGroup: MemoryController.Surroundings {
  let path = "\(hierarchy)/escra-race-\(getpid())"
  let meter: MemoryMeter
  let writer: MemoryWriter
  let calls: MemoryCalls
  var controller: MemoryController
  var shrinks = 0
  var refusals = 0
  private let poller: Poller
  private var timer: DeadlineTimer
  private var child: pid_t = 0
  private var deadline: Nanoseconds? = 0

  init() throws(SystemError) {
    mkdir(path, 0o700)
    writer = try MemoryWriter(directory: path, readOnly: false)
    try writer.set(32 * mebibyte, swap: nil) { () throws(SystemError) in 0 }
    let usage = try FileDescriptor.open(path + "/memory.usage_in_bytes", O_RDONLY)
    // Slack that is given back a thousand times as soon as it usually is.
    var parameters = MemoryLaw.Parameters.standard
    parameters.slackAfter = 2 * ms
    parameters.settling = 0
    parameters.regretWithin = 1 * ms
    parameters.longestWait = 4 * ms
    let law = MemoryLaw(parameters, to: 512 * mebibyte)
    calls = try MemoryCalls(of: path, usage: usage, thresholds: law.ladder.rungs)
    meter = MemoryMeter(
      usage: usage, statistics: try FileDescriptor.open(path + "/memory.stat", O_RDONLY),
      kills: try FileDescriptor.open(path + "/memory.oom_control", O_RDONLY), machine: .none)
    controller = MemoryController(
      law, limit: 32 * mebibyte,
      bounds: MemoryBounds(floor: 16 * mebibyte, ceiling: 512 * mebibyte), now: monotonicNow())
    poller = try Poller()
    timer = try DeadlineTimer()
    try poller.add(calls.use.number, token: 1)
    try poller.add(timer.descriptor.number, token: 2)
    try start()
  }

  deinit {
    kill(child, SIGKILL)
    var status: CInt = 0
    while waitpid(child, &status, 0) == -1 && errno == EINTR {}
    for _ in 0..<100 where rmdir(path) != 0 && errno == EBUSY { usleep(10_000) }
  }

  private func start() throws(SystemError) {
    let words: [String] = ["/usr/bin/python3", "-c", allocator]
    var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    argv.append(nil)
    defer { for argument in argv { free(argument) } }
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    guard posix_spawn(&child, "/usr/bin/python3", nil, nil, &argv, &environment) == 0 else {
      throw SystemError.last("start", "python3")
    }
    try FileDescriptor.open(path + "/cgroup.procs", O_WRONLY).write("\(child)")
  }

  func inactiveFile() -> Int64 { meter.inactiveFile() }
  func spareMemory() -> Int64 { .max }

  /// Waits for a call or the deadline, and does what is to be done.
  func step() throws(SystemError) {
    try timer.set(min(deadline ?? .max, monotonicNow() + 100 * ms))
    var isCalled = false
    try poller.wait { isCalled = isCalled || $0 == 1 }
    if isCalled { calls.acknowledgeUse() } else { timer.acknowledge() }
    let before = controller.limit
    let step = controller.observe(
      usage: try meter.usage(), at: monotonicNow(), surroundings: self)
    deadline = step.deadline
    guard let decision = step.decision, decision.limit != before else { return }
    do throws(SystemError) {
      try writer.set(decision.limit, swap: nil) { () throws(SystemError) in 0 }
      if decision.limit < before { shrinks += 1 }
    } catch {
      refusals += 1
      controller.refuse(found: try writer.current(), wasLowering: decision.limit < before)
    }
  }
}

private final class Work {
  let body: () -> Void
  init(_ body: @escaping () -> Void) { self.body = body }
}

/// Runs something as a supervisor of memory runs, on a thread that ends with it.
private func onRealtimeThread(_ body: @escaping () -> Void) {
  var thread = pthread_t()
  let work = Unmanaged.passRetained(Work(body))
  let failure = pthread_create(
    &thread, nil,
    { raw in
      Manners.hurry()
      if let raw { Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body() }
      return nil
    }, work.toOpaque())
  if failure == 0 { pthread_join(thread, nil) } else { work.release() }
}

@Suite struct MemoryShrinkRaceTests {
  @Test(.enabled(if: canMakeGroups, "it takes root and the memory hierarchy of cgroup v1"))
  func `shrinks under a racing allocator kill nobody`() throws {
    let group = try RealGroup()
    onRealtimeThread {
      let end = monotonicNow() + Nanoseconds(rounds) * 35 * ms
      while group.shrinks < rounds && monotonicNow() < end && group.meter.kills() == 0 {
        if (try? group.step()) == nil { return }
      }
    }
    #expect(group.meter.kills() == 0)
    #expect(group.shrinks > 0, "refused: \(group.refusals)")
    print("shrinks: \(group.shrinks), refused: \(group.refusals)")
  }
}
