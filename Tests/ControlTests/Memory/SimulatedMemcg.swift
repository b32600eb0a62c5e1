// SPDX-License-Identifier: Apache-2.0
import TestValues

@testable import Control
@testable import Quantities

/// A group as the kernel would account for it: what is allocated is charged up to the limit, page
/// cache gives way, and what does not fit then is a kill.
///
/// On cgroup v2 who is above the line sleeps after each charge, by the kernel's formula, and a line
/// that is raised wakes nobody who sleeps (mm/memcontrol.c, calculate_high_delay).
struct SimulatedMemcg: MemoryController.Environment {
  /// Charged and needed.
  private(set) var anonymous: Int64 = 0
  /// Charged and reclaimable.
  private(set) var cache: Int64 = 0
  private(set) var time: Nanoseconds = 0
  private(set) var kills = 0
  private(set) var looks = 0
  private(set) var decisions: [MemoryController.Decision] = []
  /// The sum of limit less working set over time, in byte seconds.
  private(set) var slack: Double = 0
  /// For how long it slept above the line, in all.
  private(set) var stalled: Nanoseconds = 0
  /// How often the line was crossed, as memory.events.local counts.
  private(set) var crossings = 0
  /// The supervisor runs so long after it was called.
  var latency: Nanoseconds = 200_000
  /// What the machine could hand out.
  var spare: Int64 = .max
  private(set) var limit: Int64
  private(set) var line: Int64?
  private(set) var controller: MemoryController
  private let law: MemoryLaw
  private var deadline: Nanoseconds? = 0
  private var called: Nanoseconds?
  private var asleepUntil: Nanoseconds = 0
  private var lastNews: Nanoseconds = .min / 2

  init(
    limit: Int64, floor: Int64 = 16 * mebibyte, ceiling: Int64,
    parameters: MemoryLaw.Parameters = .standard, version: CgroupVersion = .v1
  ) {
    law = MemoryLaw(parameters, to: 8 << 30, version: version)
    self.limit = limit
    controller = MemoryController(
      law, limit: limit, bounds: MemoryBounds(floor: floor, ceiling: ceiling), now: 0)
  }

  /// Read again after it was dropped.
  private(set) var refaulted: Int64 = 0
  private var position: Int64 = 0

  func inactiveFile() -> Int64 { cache }
  func pageCache() -> PageCache { PageCache(inactive: cache, refaulted: refaulted) }
  func spareMemory() -> Int64 { spare }

  var usage: Int64 { anonymous + cache }

  /// Runs for a time in which memory is allocated, or freed, at a rate in bytes a second.
  mutating func run(_ duration: Nanoseconds, rate: Int64 = 0, cacheRate: Int64 = 0) {
    let step: Nanoseconds = rate == 0 && cacheRate == 0 ? 500_000 : 100_000
    let end = time + duration
    while time < end {
      let before = usage
      if time < asleepUntil {
        stalled += step
      } else {
        take(rate * step / 1_000_000_000, cacheRate * step / 1_000_000_000)
        call(before)
      }
      time += step
      slack += Double(limit - anonymous) * Double(step) / 1e9
      if let called, time >= called + latency { look() }
      if let deadline, time >= deadline + latency { look() }
    }
  }

  /// Runs at a rate until so much is used.
  mutating func grow(to use: Int64, rate: Int64) {
    while anonymous < use && kills == 0 { run(ms, rate: rate) }
  }

  /// Reads a file from its beginning to its end again and again: what the kernel drops is what is
  /// read next, so that it either fits or is fetched all the time.
  mutating func read(_ file: Int64, for duration: Nanoseconds, rate: Int64) {
    let end = time + duration
    while time < end {
      if cache >= file {
        run(ms)
        continue
      }
      let bytes = rate / 1000
      if position >= file { refaulted += bytes }
      position += bytes
      run(ms, cacheRate: rate)
      cache = min(cache, file)
      let full = law.version == .v1 ? limit : min(limit, line ?? limit)
      if usage >= full { called = called ?? time }
    }
  }

  /// Frees all but so much at once.
  mutating func free(to use: Int64) {
    let before = usage
    anonymous = use
    call(before)
    // Nothing calls on cgroup v2, but it takes CPU time.
    if law.version == .v2 { called = called ?? time }
  }

  private mutating func take(_ bytes: Int64, _ cached: Int64) {
    cache = min(max(0, cache + cached), max(0, limit - anonymous))
    anonymous = max(0, anonymous + bytes)
    if law.version == .v2 { brake(bytes) }
    if usage > limit {
      let reclaimed = min(cache, usage - limit)
      cache -= reclaimed
      if reclaimed > 0 { called = called ?? time }
    }
    if usage > limit {
      kills += 1
      anonymous = limit / 2
    }
  }

  private mutating func brake(_ bytes: Int64) {
    guard let line, usage > line else { return }
    crossings += 1
    cache -= min(cache, usage - line)
    if time >= lastNews + 12 * ms {
      lastNews = time
      called = called ?? time
    }
    let over = Double(anonymous - line) / Double(line)
    guard over > 0 else { return }
    let sleep = min(2, over * over * Double(bytes / 4096))
    // No more than a hundredth of a second is none at HZ=100; here it is 8 ms, as at HZ=250.
    if sleep > 0.008 { asleepUntil = time + Nanoseconds(sleep * 1e9) }
  }

  /// Thresholds call in both directions.
  private mutating func call(_ before: Int64) {
    guard law.version == .v1 else { return }
    if law.ladder.rung(above: before) != law.ladder.rung(above: usage) { called = called ?? time }
  }

  private mutating func look() {
    called = nil
    looks += 1
    let step = controller.observe(usage: usage, at: time, surroundings: self)
    deadline = step.deadline
    if let decision = step.decision { decide(decision) }
    line = controller.line
    if let line, law.version == .v2 { cache = max(0, min(cache, line - anonymous)) }
  }

  private mutating func decide(_ decision: MemoryController.Decision) {
    decisions.append(decision)
    let brake = MemoryHigh.line(under: decision.limit)
    let room = law.version == .v1 ? 0 : (decision.limit - brake) / 2
    if decision.limit < limit, anonymous > decision.limit - room {
      // EBUSY.
      controller.refuse(found: limit, wasLowering: true)
    } else {
      limit = decision.limit
      cache = min(cache, limit - anonymous)
    }
  }
}
