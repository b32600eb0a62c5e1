// SPDX-License-Identifier: Apache-2.0
import LiveLimits
import Syscalls

let mebibyte: Int64 = 1 << 20
private let ms: Nanoseconds = 1_000_000

/// A group of cgroup v1 as the kernel would account for it: what is allocated is charged up to the
/// limit, page cache gives way, and what does not fit then is a kill.
struct SimulatedMemcg: MemoryController.Surroundings {
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
  /// The supervisor runs so long after it was called.
  var latency: Nanoseconds = 200_000
  /// What the machine could hand out.
  var spare: Int64 = .max
  private(set) var limit: Int64
  private(set) var controller: MemoryController
  private let law: MemoryLaw
  private var deadline: Nanoseconds? = 0
  private var called: Nanoseconds?

  init(
    limit: Int64, floor: Int64 = 16 * mebibyte, ceiling: Int64,
    parameters: MemoryLaw.Parameters = .standard
  ) {
    law = MemoryLaw(parameters, to: 8 << 30)
    self.limit = limit
    controller = MemoryController(
      law, limit: limit, bounds: MemoryBounds(floor: floor, ceiling: ceiling), now: 0)
  }

  func inactiveFile() -> Int64 { cache }
  func spareMemory() -> Int64 { spare }

  var usage: Int64 { anonymous + cache }

  /// Runs for a time in which memory is allocated, or freed, at a rate in bytes a second.
  mutating func run(_ duration: Nanoseconds, rate: Int64 = 0, cacheRate: Int64 = 0) {
    let step: Nanoseconds = rate == 0 && cacheRate == 0 ? 500_000 : 100_000
    let end = time + duration
    while time < end {
      let before = usage
      take(rate * step / 1_000_000_000, cacheRate * step / 1_000_000_000)
      call(before)
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

  /// Frees all but so much at once.
  mutating func free(to use: Int64) {
    let before = usage
    anonymous = use
    call(before)
  }

  private mutating func take(_ bytes: Int64, _ cached: Int64) {
    cache = min(max(0, cache + cached), max(0, limit - anonymous))
    anonymous = max(0, anonymous + bytes)
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

  /// Thresholds call in both directions.
  private mutating func call(_ before: Int64) {
    if law.ladder.rung(above: before) != law.ladder.rung(above: usage) { called = called ?? time }
  }

  private mutating func look() {
    called = nil
    looks += 1
    let step = controller.observe(usage: usage, at: time, surroundings: self)
    deadline = step.deadline
    guard let decision = step.decision else { return }
    decisions.append(decision)
    if decision.limit < anonymous {
      // EBUSY.
      controller.refuse(found: limit, wasLowering: true)
    } else {
      limit = decision.limit
      cache = min(cache, limit - anonymous)
    }
  }
}
