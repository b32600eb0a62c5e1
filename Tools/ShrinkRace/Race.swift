// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
import Glibc
internal import LiveLimits
internal import Quantities
import Syscalls

private let ms: Nanoseconds = 1_000_000
private let mebibyte: Int64 = 1 << 20

/// A group of the kernel's with an allocator in it, and a supervisor's reading, law and writes
/// around it.
///
/// One in two shrinks is that of a supervisor that is not let in, between its reading and the write and
/// after that.
final class Race: MemoryController.Environment {
  /// How a limit is lowered.
  enum Way: String {
    /// As a supervisor does it.
    case checked = ""
    /// Written as it was decided, whatever has happened since.
    case unchecked = "--unchecked"
    /// To no more than what is used.
    case toTheUse = "--to-the-use"
  }

  /// When a shrink is written, after it was decided.
  enum Pace: Equatable {
    case prompt
    /// Up to 8 ms late, and nobody looks for up to 1 ms behind it.
    case late(Nanoseconds)
    /// As late as can be, and nobody looks behind it, until the allocator has grown each time.
    case stopped

    static func random() -> Pace {
      switch Int.random(in: 0..<4) {
      case 0: .stopped
      case 1: .late(Nanoseconds.random(in: 0...8 * ms))
      default: .prompt
      }
    }

    /// When to grow, of slack that is due at a moment; a word of ``Announcement``, or then.
    func due(_ moment: Nanoseconds) -> Nanoseconds {
      switch self {
      case .prompt: moment
      case .late(let time): moment + time
      case .stopped: Announcement.stay
      }
    }
  }

  private(set) var attempted = 0
  private(set) var done = 0
  private(set) var refused = 0
  private(set) var raised = 0

  private let way: Way
  private let meter: MemoryMeter
  private let writer: MemoryWriter
  private let limitFile: FileDescriptor
  private let calls: MemoryCalls
  private let poller: Poller
  private var timer: DeadlineTimer
  private var controller: MemoryController
  private var announcer: Announcer
  private var deadline: Nanoseconds? = 0
  /// How the next shrink is to be.
  private var pace = Pace.prompt
  /// Until when the allocator stays as it is, at the least.
  private var stayingUntil: Nanoseconds = 0
  private let child: pid_t
  private let killsBefore: Int64

  /// Prepares a group that is empty, and starts the allocator in it.
  init(in group: String, _ way: Way, seconds: Int64, file: String?) throws(SystemError) {
    self.way = way
    let isV1 = access(group + "/memory.max", F_OK) != 0
    writer = try MemoryWriter(directory: group, version: isV1 ? .v1 : .v2, readOnly: false)
    let limit = 64 * mebibyte
    try writer.set(limit, line: nil, swap: limit) { () throws(SystemError) in 0 }
    limitFile = try FileDescriptor.open(
      group + (isV1 ? "/memory.limit_in_bytes" : "/memory.max"), O_WRONLY)
    var parameters = MemoryLaw.Parameters.standard
    parameters.slackAfter = 5 * ms
    parameters.regretWithin = 5 * ms
    // Nearly each of these shrinks is regretted: with all of the back-off there would be none.
    parameters.longestWait = 10 * ms
    let law = MemoryLaw(parameters, to: 128 * mebibyte, version: isV1 ? .v1 : .v2)
    let usage = try FileDescriptor.open(
      group + (isV1 ? "/memory.usage_in_bytes" : "/memory.current"), O_RDONLY)
    calls =
      isV1
      ? try MemoryCalls(of: group, usage: usage, thresholds: law.ladder.rungs)
      : try MemoryCalls(unified: group)
    meter = MemoryMeter(
      usage: usage, statistics: try FileDescriptor.open(group + "/memory.stat", O_RDONLY),
      kills: try FileDescriptor.open(
        group + (isV1 ? "/memory.oom_control" : "/memory.events.local"), O_RDONLY),
      machine: .none)
    killsBefore = meter.kills() ?? 0
    controller = MemoryController(
      law, limit: limit,
      bounds: MemoryBounds(floor: 16 * mebibyte, ceiling: 128 * mebibyte), now: monotonicNow())
    poller = try Poller()
    timer = try DeadlineTimer()
    try calls.add(to: poller, use: 1, outOfMemory: 2)
    try poller.add(timer.descriptor.number, token: 3)
    var ends: [CInt] = [-1, -1, -1, -1]
    guard ends.withUnsafeMutableBufferPointer({ pipes($0) }) else {
      throw SystemError.last("make", "a pipe")
    }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    announcer = Announcer(owning: ends[1], ends[2])
    child = try Self.start(
      group, file, stdin: FileDescriptor(owning: ends[0]), stdout: FileDescriptor(owning: ends[3]))
  }

  private static func start(
    _ group: String, _ file: String?, stdin: consuming FileDescriptor,
    stdout: consuming FileDescriptor
  ) throws(SystemError) -> pid_t {
    let words: [String] = ["shrink-race", "--allocate", group] + (file.map { [$0] } ?? [])
    var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    argv.append(nil)
    defer { for argument in argv { free(argument) } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, stdin.number, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, stdout.number, STDOUT_FILENO)
    var child: pid_t = 0
    guard posix_spawn(&child, "/proc/self/exe", &actions, nil, &argv, environ) == 0 else {
      throw SystemError.last("start", "the allocator")
    }
    return child
  }

  /// How many the kernel has killed for want of memory.
  var kills: Int64 { (meter.kills() ?? 0) - killsBefore }

  func inactiveFile() -> Int64 { meter.inactiveFile() }
  func spareMemory() -> Int64 { .max }

  /// Waits for a call or the deadline, looks, and does what is decided.
  func step() throws(SystemError) {
    // Nothing calls on cgroup v2 when memory is freed.
    let patience = writer.version == .v1 ? 50 * ms : 2 * ms
    try timer.set(min(deadline ?? .max, monotonicNow() + patience))
    var isCalled = false
    try poller.wait { isCalled = isCalled || $0 != 3 }
    if isCalled {
      calls.acknowledgeUse()
      calls.acknowledgeOutOfMemory()
    }
    timer.acknowledge()
    let before = controller.limit
    let usage = try meter.usage()
    let step = controller.observe(usage: usage, at: monotonicNow(), surroundings: self)
    deadline = step.deadline
    if let decision = step.decision, decision.limit != before {
      if decision.limit < before {
        try lower(decision, before, usage)
      } else {
        _ = carryOut(decision, before)
        raised += 1
      }
    }
    if writer.version == .v2 {
      let line = controller.line
      if (try writer.line()) != line ?? MemoryLimit.unlimited { try writer.set(line: line) }
    }
    let due = controller.slackDue.map { pace.due($0) } ?? Announcement.none
    announcer.say(Announcement(limit: controller.limit, due: due))
    if announcer.hasAnswered() { stayingUntil = monotonicNow() + 100 * ms }
  }

  private func carryOut(_ decision: MemoryController.Decision, _ before: Int64) -> Bool {
    writer.carryOut(
      decision, of: &controller, from: before, swap: decision.limit, surroundings: self,
      use: { try? meter.usage() }
    ).isTaken
  }

  private func lower(
    _ decision: MemoryController.Decision, _ before: Int64, _ usage: Int64
  ) throws(SystemError) {
    attempted += 1
    if pace == .stopped, monotonicNow() > stayingUntil { pace = .prompt }
    if pace == .stopped {
      announcer.order(Announcement(limit: before, due: Announcement.decided))
    } else if case .late(let time) = pace {
      usleep(UInt32(time / 1000))
    }
    let isTaken: Bool
    if way == .checked {
      isTaken = carryOut(decision, before)
    } else {
      let target = way == .unchecked ? decision.limit : min((usage + 4095) & ~4095, decision.limit)
      isTaken = (try? limitFile.overwrite("\(target)", subject: "the limit")) != nil
      controller.hold(try writer.current())
    }
    if isTaken { done += 1 } else { refused += 1 }
    if pace == .stopped {
      announcer.order(Announcement(limit: before, due: Announcement.written))
    } else if case .late = pace {
      usleep(UInt32.random(in: 0...1000))
    }
    stayingUntil = 0
    pace = .random()
  }

  /// Ends the allocator.
  func end() throws(SystemError) {
    kill(child, SIGKILL)
    var status: CInt = 0
    try retrying("wait for", "the allocator") { waitpid(child, &status, 0) }
  }
}

/// Makes two pipes.
private func pipes(_ ends: UnsafeMutableBufferPointer<CInt>) -> Bool {
  guard let first = ends.baseAddress else { return false }
  return pipe(first) == 0 && pipe(first + 2) == 0
}
