// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Turns readings of one container's memory into limits, and says when to read again.
///
/// A pure state machine: readings come in, because a rung was crossed, reclaim began or a deadline
/// came; what to do comes out. While the container grows it is read every millisecond or so, while
/// there is slack there is one deadline, at which it is given back, and else there is none.
///
/// It raises when the limit is less than the ``MemoryLaw/need(_:rate:ahead:)``, and gives back what
/// slack has lasted, never below that need as it is at that moment.
package struct MemoryController: Sendable {
  /// What the world outside knows at the moment of a reading; asked only when it matters.
  package protocol Environment {
    /// Page cache that was not used again, in bytes.
    func inactiveFile() -> Int64
    /// All that is known of the page cache.
    func pageCache() -> PageCache
    /// What may be handed out until the machine is at its reserve, in bytes.
    func spareMemory() -> Int64
  }

  /// What a limit shall be, and why.
  package struct Decision: Equatable, Sendable {
    /// The limit in bytes; what it was, where the decision is to leave it.
    package var limit: Int64
    /// Why.
    package var rule: Rule
    /// The working set that it was decided from, in bytes.
    package var use: Int64

    /// Makes one from its parts.
    package init(limit: Int64, rule: Rule, use: Int64) {
      self.limit = limit
      self.rule = rule
      self.use = use
    }
  }

  /// What to do now.
  package struct Step: Equatable, Sendable {
    /// What to write and to record; nil for nothing.
    package var decision: Decision?
    /// When to read again; nil: when the kernel calls.
    package var deadline: Nanoseconds?
  }

  /// The limit in force, in bytes.
  package var limit: Int64
  /// Where cgroup v2 is to slow the container down, in bytes; nil for nowhere.
  package private(set) var line: Int64?
  /// What it moves between.
  package var bounds: MemoryBounds
  /// For how long slack has to last now; longer after each regret, less long after each shrink that
  /// was none.
  package var wait: Nanoseconds

  let law: MemoryLaw
  private var last: (time: Nanoseconds, workingSet: Int64)?
  /// How fast it grew lately, in bytes a second; halved with each calm ``MemoryLaw``'s reaction.
  private var rate: Int64 = 0
  /// Until then growth is no pace: page cache was just given back, and memory.stat has some of it
  /// still.
  var paceFrom: Nanoseconds = .min
  /// By how much it has grown between the last two readings; nil where there was one alone.
  var grown: Int64?
  private var inactive: (time: Nanoseconds, bytes: Int64) = (.min / 2, 0)
  private var cache = PageCacheDemand()
  /// A reading of the page cache that ``cache`` has not seen yet.
  private var unseen: PageCache?
  /// Since when there is slack, since when it is as much as it is, and the most that was needed.
  var slack: (since: Nanoseconds, steadySince: Nanoseconds, need: Int64)?
  /// What was given back last, as long as it is not known whether that will be regretted: until
  /// when, and the limit from which on it is.
  var lastShrink: (until: Nanoseconds, regretAt: Int64)?
  /// Whether it wants more than it may have; the record says so already.
  package private(set) var isRefused = false
  let keptUntil: Nanoseconds
  /// When slack is given back, if it lasts until then; nil where there is none.
  package var slackDue: Nanoseconds? { slack.map { due($0) } }

  var parameters: MemoryLaw.Parameters { law.parameters }

  /// Starts with what is in force.
  package init(_ law: MemoryLaw, limit: Int64, bounds: MemoryBounds, now: Nanoseconds) {
    self.law = law
    self.limit = limit
    self.bounds = bounds
    wait = law.parameters.slackAfter
    keptUntil = now + law.parameters.settling
  }

  /// Takes a reading.
  ///
  /// - Parameters:
  ///   - usage: All that is charged to the container, in bytes.
  ///   - now: When it was read.
  ///   - surroundings: What else to ask.
  /// - Returns: What to do.
  package mutating func observe(
    usage: Int64, at now: Nanoseconds, surroundings: some Environment
  ) -> Step {
    forgive(at: now)
    let before = (last, rate, grown)
    var reading = reading(usage, now, surroundings)
    var hasPace = takePace(reading, now)
    if limit < law.need(reading, rate: rate), inactive.time < now {
      // What has grown since memory.stat was read may be page cache: then it is no need, and no pace.
      readCache(now, surroundings)
      reading = MemoryReading(usage: usage, inactiveFile: inactive.bytes)
      (last, rate, grown) = before
      hasPace = takePace(reading, now)
    }
    defer { line = law.line(under: limit, reading, rate: rate, current: line) }
    let need = law.need(reading, rate: rate)
    if limit < need {
      slack = nil
      return raise(reading, now, surroundings, hasPace)
    }
    isRefused = false
    if limit > bounds.ceiling, max(need, bounds.ceiling) < limit {
      return lower(to: max(need, bounds.ceiling), .memoryBounded, reading, now)
    }
    if let step = takeRefaults(reading, now, surroundings, hasPace) { return step }
    takeSlack(needKept(reading, now), now)
    if let slack, now >= due(slack) {
      return lower(to: bounds.clamp(slack.need), .memoryGivenBack, reading, now)
    }
    let next = deadline(reading, now, hasPace)
    guard let moment = cacheDue(reading) else { return Step(deadline: next) }
    return Step(deadline: min(next ?? .max, max(moment, now)))
  }

  // MARK: page cache

  private mutating func readCache(_ now: Nanoseconds, _ surroundings: some Environment) {
    let found = surroundings.pageCache()
    inactive = (now, found.inactive)
    unseen = found
  }

  /// Does what refaults ask for; nil for nothing.
  private mutating func takeRefaults(
    _ reading: MemoryReading, _ now: Nanoseconds, _ surroundings: some Environment, _ hasPace: Bool
  ) -> Step? {
    guard let found = unseen else { return nil }
    unseen = nil
    let all = MemoryReading(usage: reading.usage)
    let isFull = law.distance(all, to: limit) < law.head(at: 0)
    guard
      let bytes = cache.observe(
        found, limit: limit, ceiling: bounds.ceiling, isFull: isFull, at: now)
    else { return nil }
    slack = nil
    return raise(reading, now, surroundings, hasPace, toKeep: bytes)
  }

  /// The need, with the page cache that is kept.
  private mutating func needKept(_ reading: MemoryReading, _ now: Nanoseconds) -> Int64 {
    if cacheDue(reading) != nil { cache.release(reading.inactiveFile, at: now) }
    let droppable = reading.inactiveFile - min(reading.inactiveFile, cache.kept)
    let need = law.need(MemoryReading(usage: reading.usage, inactiveFile: droppable))
    return cache.worth(at: now).map { min(need, max($0, law.need(reading))) } ?? need
  }

  /// When page cache that was not read again is released; nil if there is none.
  private func cacheDue(_ reading: MemoryReading) -> Nanoseconds? {
    guard cache.kept > 0, law.isWorthwhile(limit - bounds.clamp(law.need(reading)), of: limit)
    else { return nil }
    return max(keptUntil, cache.keptUntil)
  }

  /// Takes note of a limit that came from elsewhere: an update, a foreign write.
  package mutating func adopt(limit: Int64, bounds: MemoryBounds) {
    self.limit = limit
    self.bounds = bounds
    slack = nil
    isRefused = false
  }

  /// Takes note of what is in force, where the application grants what was decided.
  package mutating func hold(_ limit: Int64) { self.limit = limit }

  /// Takes note that the kernel has refused a limit; what it has instead stays in force.
  ///
  /// - Parameters:
  ///   - found: The limit that is in force.
  ///   - wasLowering: Whether less was to be given: then there was no slack, whatever it seemed.
  package mutating func refuse(found: Int64, wasLowering: Bool) {
    limit = found
    slack = nil
    guard wasLowering else { return }
    // A container that grows now does not regret what it has never lost.
    lastShrink = nil
    regret()
  }

  // MARK: reading

  mutating func reading(
    _ usage: Int64, _ now: Nanoseconds, _ surroundings: some Environment
  ) -> MemoryReading {
    // memory.stat costs ten times what the usage does, and cache matters where the usage alone
    // would ask for a write.
    let byUsage = law.need(MemoryReading(usage: usage), rate: rate)
    if limit < byUsage || limit > bounds.ceiling || now - inactive.time >= parameters.staleAfter
      || slack.map({ now >= due($0) }) == true
    {
      readCache(now, surroundings)
    }
    return MemoryReading(usage: usage, inactiveFile: inactive.bytes)
  }

  /// - Returns: Whether the pace is known, which takes two readings that are not far apart.
  private mutating func takePace(_ reading: MemoryReading, _ now: Nanoseconds) -> Bool {
    defer { last = (now, reading.workingSet) }
    guard let last, now >= paceFrom else { return false }
    let time = now - last.time
    let grown = max(0, reading.workingSet - last.workingSet)
    self.grown = grown
    // A reading right after another says more of the noise than of the pace.
    let latest = CFSBandwidth.scaled(grown, by: 1_000_000_000, over: max(time, 500_000))
    let halvings = min(62, time / parameters.reaction)
    // Also of what is looked at more often than that something has to be forgotten each time.
    let rest = time % parameters.reaction
    let forgotten = CFSBandwidth.scaled(rate >> halvings, by: rest, over: 2 * parameters.reaction)
    rate = min(parameters.fastest, max(latest, (rate >> halvings) - forgotten))
    return time <= 2 * parameters.longestSample
  }

  /// Until the pace is known and slow enough, it is looked at again soon; the rungs do the rest.
  func deadline(
    _ reading: MemoryReading, _ now: Nanoseconds, _ hasPace: Bool
  ) -> Nanoseconds? {
    let slackDue = slack.map { max(due($0), now) }
    let distance = law.distance(reading, to: limit)
    // The thresholds are being registered meanwhile, and one that was passed before does not call.
    if now < keptUntil, limit < bounds.ceiling {
      return min(slackDue ?? .max, now + law.nextLook(distance, rate: nil))
    }
    // A container that was looked at long ago, and has hardly grown since, does not grow: what it
    // takes all at once now crosses a rung, or the line.
    let growth =
      hasPace ? law.taken(at: rate, in: 2 * parameters.longestSample) : grown.map { 2 * $0 }
    let isCalm = growth.map { $0 < distance / 4 } ?? false
    if isCalm || limit >= bounds.ceiling { return slackDue }
    let look = now + law.nextLook(distance, rate: hasPace ? rate : nil)
    return min(slackDue ?? .max, look)
  }

  // MARK: raising

  private mutating func raise(
    _ reading: MemoryReading, _ now: Nanoseconds, _ surroundings: some Environment,
    _ hasPace: Bool, toKeep cached: Int64? = nil
  ) -> Step {
    let wanted =
      cached.map { limit > .max - $0 ? .max : limit + $0 } ?? law.raised(reading, rate: rate)
    let allowed = min(wanted, bounds.ceiling)
    // What is granted is not used yet: all of it may be, and then the machine has to have it.
    let spare = allowed > limit ? surroundings.spareMemory() : .max
    let byHost = spare == .max ? Int64.max : reading.usage + max(0, spare)
    let target = min(allowed, byHost)
    guard target > limit else {
      // Near its ceiling, and not yet above what it may have.
      let isShort = limit - reading.workingSet < law.head(at: rate)
      let isNews = isShort && !isRefused
      isRefused = isRefused || isShort
      let rule: Rule = byHost < allowed ? .memoryHostFull : .memoryRefused
      // Memory of the machine may come back; the ceiling does not move by itself.
      let deadline =
        byHost < allowed
        ? now + parameters.longestSample : isShort ? nil : lastLook(reading, now, hasPace)
      return Step(
        decision: isNews ? Decision(limit: limit, rule: rule, use: reading.workingSet) : nil,
        deadline: deadline)
    }
    let isNear = law.isNear(reading, to: limit)
    if cached == nil { noteGrowth(to: target, at: now) }
    isRefused = false
    limit = target
    return Step(
      decision: Decision(
        limit: target,
        rule: cached != nil ? .memoryRefaults : isNear ? .memoryNearMiss : .memoryGrown,
        use: reading.workingSet),
      // Who calms down at once may have been given more than it needs, and will not call.
      deadline: deadline(reading, now, hasPace) ?? now + wait)
  }

  /// On cgroup v2 the kernel does not call any more where the line is gone; what wants more is to
  /// be told.
  private func lastLook(
    _ reading: MemoryReading, _ now: Nanoseconds, _ hasPace: Bool
  ) -> Nanoseconds? {
    guard law.version.hasMemoryHigh else { return nil }
    let room = limit - reading.workingSet
    if hasPace, law.taken(at: rate, in: 2 * parameters.longestSample) < room / 4 { return nil }
    return now + law.nextLook(room, rate: hasPace ? rate : nil)
  }
}

extension MemoryController.Environment {
  /// Where nothing is known of it but what was read once.
  package func pageCache() -> PageCache { PageCache(inactive: inactiveFile()) }
}
