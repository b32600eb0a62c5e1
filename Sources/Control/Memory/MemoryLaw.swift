// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container uses of its memory at one moment, in bytes.
package struct MemoryReading: Equatable, Sendable {
  /// All that is charged to it: memory.usage_in_bytes or memory.current.
  package var usage: Int64
  /// Page cache that was not used again, inactive_file of memory.stat.
  ///
  /// The kernel drops it before it kills a process.
  package var inactiveFile: Int64

  /// Makes a reading.
  package init(usage: Int64, inactiveFile: Int64 = 0) {
    self.usage = usage
    self.inactiveFile = min(max(inactiveFile, 0), usage)
  }

  /// What it needs: all but page cache that was not used again, as kubelet and cAdvisor count.
  package var workingSet: Int64 { usage - inactiveFile }
}

/// How much memory a container gets: what it uses and a head, as pure functions of a reading.
///
/// The head is what it may take before a raise is there. On cgroup v1 nothing pauses it at the
/// limit, so a raise that comes late is a kill: a limit stands a head above a rung of the
/// ``UsageThresholds``, and a container that crosses the rung has called the supervisor, with a
/// head left to go. On v2 the line of the ``MemoryHigh`` stands a head above the use, and the limit
/// its room above the line; who crosses the line has called, and is not slowed down yet.
package struct MemoryLaw: Equatable, Sendable {
  /// The constants of the law.
  package struct Parameters: Equatable, Sendable {
    /// The least head: 8 MiB.
    ///
    /// One CPU at full speed, 2.7 GB/s, takes 3 ms for it; a supervisor is awake within 0.14 ms in
    /// 99 of 100 cases, and after 4 ms in the worst one that was seen on an idle machine.
    package var leastHead: Int64 = 8 << 20
    /// The greatest head: 256 MiB, so that one absurd reading costs no more.
    package var greatestHead: Int64 = 256 << 20
    /// Within this a raise is there, also on a busy machine: 5 ms.
    package var reaction: Nanoseconds = 5_000_000
    /// For how long a raise has to last at the pace of the demand: 12 ms.
    package var lasting: Nanoseconds = 12_000_000
    /// The fastest that a container is expected to grow while its pace is not known: 4 GiB/s.
    package var fastest: Int64 = 4 << 30
    /// For how long slack has to last until it is given back: 0.5 s.
    ///
    /// Escra's controller looks every 5 s. What the kernel gets back has been kept by an allocator
    /// for a while already (jemalloc's `dirty_decay_ms`: 10 s) or has come in one large piece
    /// (glibc's `M_TRIM_THRESHOLD`); a container that needs it every half second or more often
    /// keeps it, since what is regretted has the next shrink wait longer.
    package var slackAfter: Nanoseconds = 500_000_000
    /// For how long a container keeps what it starts with at the least: 2 s, since runtimes size
    /// themselves by the limit they find.
    package var settling: Nanoseconds = 2_000_000_000
    /// What has to be there to give back for a write to be worth it: 8 MiB, or a sixteenth.
    package var worthwhile: Int64 = 8 << 20
    /// The part of the limit that ``worthwhile`` is at the least: a sixteenth.
    package var worthwhilePart: Int64 = 16
    /// Growing by ``regretPart`` within this time after giving back ``regretSize`` or more is a
    /// regret: 1 s; after giving back less within a longer time, up to ``longestWait``.
    ///
    /// A health check that runs in a small container takes a few MiB every some seconds: what is
    /// spared in between is not worth two writes each time.
    package var regretWithin: Nanoseconds = 1_000_000_000
    /// What has to be given back for ``regretWithin`` to be as short as it is: 256 MiB.
    package var regretSize: Int64 = 256 << 20
    /// The part of what was given back that has to be wanted again for a regret: a half.
    ///
    /// Who comes back to it slowly has spared the rest of it for longer than it had waited, and a
    /// raise costs some microseconds: there is nothing to regret.
    package var regretPart: Int64 = 2
    /// How long slack has to last after many regrets: at most 60 s.
    package var longestWait: Nanoseconds = 60_000_000_000
    /// The shortest time between two readings: 0.5 ms.
    package var shortestSample: Nanoseconds = 500_000
    /// The longest time between two readings while it grows: 10 ms.
    package var longestSample: Nanoseconds = 10_000_000
    /// For how long what was page cache is taken for it where no write follows: 0.5 s.
    ///
    /// To read memory.stat the kernel sums up all CPUs' counters of the whole tree.
    package var staleAfter: Nanoseconds = 500_000_000
    /// The least step of a line on cgroup v2: 16 MiB, or an eighth of the use.
    ///
    /// The kernel tells of a line that was crossed at most once in 12 ms.
    package var leastStep: Int64 = 16 << 20
    /// The part of the use that a step is at the least: an eighth.
    package var stepPart: Int64 = 8

    /// Our constants.
    package static let standard = Parameters()
  }

  /// The constants.
  package let parameters: Parameters
  /// Where the kernel calls.
  package let ladder: UsageThresholds

  /// Which of the kernel's interfaces the limit has.
  package let version: CgroupVersion

  /// A law for a container that may have at most `limit` bytes.
  package init(
    _ parameters: Parameters = .standard, to limit: Int64, version: CgroupVersion = .v1
  ) {
    self.parameters = parameters
    self.version = version
    // A line is written at once, and calls wherever it is.
    ladder = UsageThresholds(to: version.hasMemoryHigh ? 0 : limit)
  }

  /// What it may take before a raise is there: max(8 MiB, rate x 5 ms).
  ///
  /// - Parameter rate: How fast it grows, in bytes a second.
  /// - Returns: Bytes.
  package func head(at rate: Int64) -> Int64 {
    min(
      parameters.greatestHead, max(parameters.leastHead, taken(at: rate, in: parameters.reaction)))
  }

  /// The least limit under which the supervisor need not look: the kernel calls a head before the
  /// limit.
  ///
  /// - Parameters:
  ///   - reading: What is used.
  ///   - rate: How fast it grows, in bytes a second.
  ///   - ahead: What it is expected to take until it is looked at again, in bytes.
  /// - Returns: Bytes.
  package func need(_ reading: MemoryReading, rate: Int64 = 0, ahead: Int64 = 0) -> Int64 {
    if version.hasMemoryHigh {
      return MemoryHigh.limit(over: lineNeed(reading, rate: rate, ahead: ahead))
    }
    let head = head(at: rate)
    let byRung = ladder.rung(above: reading.usage + ahead) + head
    // Page cache up to the limit hides the rungs. What calls then is reclaim, and what is left to
    // reclaim is the head.
    guard reading.inactiveFile >= head else { return byRung }
    return min(byRung, roundedUp(reading.workingSet + ahead + 2 * head))
  }

  /// The least limit to work under for a while, where others have less: half a head ahead, so
  /// that it may have grown by a quarter since the supervisor looked.
  ///
  /// - Parameter reading: What is used.
  /// - Returns: Bytes.
  package func least(_ reading: MemoryReading) -> Int64 {
    let used = roundedUp(reading.workingSet + head(at: 0) / 2)
    // On cgroup v2 a line needs a twelfth above it, and then it takes from its own room.
    return version.hasMemoryHigh ? roundedUp(used + used / 12) : used
  }

  /// What to raise to: the need, and what it takes at its pace for as long as a raise has to last.
  package func raised(_ reading: MemoryReading, rate: Int64) -> Int64 {
    need(reading, rate: rate, ahead: step(reading, rate: rate))
  }

  /// The least line on cgroup v2 that is not crossed before the supervisor looks, in bytes.
  package func lineNeed(_ reading: MemoryReading, rate: Int64 = 0, ahead: Int64 = 0) -> Int64 {
    let head = head(at: rate)
    let byUse = reading.usage + ahead + head
    // Page cache fills all that is below the line, and gives way there: it raises nothing.
    guard reading.inactiveFile >= head else { return roundedUp(byUse) }
    return roundedUp(min(byUse, reading.workingSet + ahead + 2 * head))
  }

  /// Where the line is to be under a limit; nil for none, so that no task sleeps below a limit that
  /// will not move.
  ///
  /// - Parameters:
  ///   - limit: The limit, in bytes.
  ///   - reading: What is used.
  ///   - rate: How fast it grows, in bytes a second.
  ///   - current: Where it is.
  /// - Returns: Bytes; always nil on cgroup v1, which has no such line.
  package func line(
    under limit: Int64, _ reading: MemoryReading, rate: Int64, current: Int64?
  ) -> Int64? {
    guard version.hasMemoryHigh, limit < MemoryLimit.unlimited else { return nil }
    let need = lineNeed(reading, rate: rate)
    let comfortable = MemoryHigh.line(under: limit)
    if need <= comfortable { return comfortable }
    // No more is to be had: it takes from its own room.
    let highest = MemoryHigh.highestLine(under: limit)
    if let current, current >= need, current <= highest { return current }
    let further = lineNeed(reading, rate: rate, ahead: step(reading, rate: rate))
    return further <= highest ? further : nil
  }

  private func step(_ reading: MemoryReading, rate: Int64) -> Int64 {
    let taken = taken(at: rate, in: parameters.lasting)
    guard version.hasMemoryHigh else { return taken }
    let part = min(parameters.greatestHead, reading.workingSet / parameters.stepPart)
    return max(taken, max(parameters.leastStep, part))
  }

  /// For how long it is a regret to want again what was given back.
  ///
  /// - Parameter bytes: How much that was.
  /// - Returns: Nanoseconds.
  package func regretWithin(_ bytes: Int64) -> Nanoseconds {
    let shortest = parameters.regretWithin
    let scaled = CFSBandwidth.scaled(shortest, by: parameters.regretSize, over: max(1, bytes))
    return max(shortest, min(parameters.longestWait, scaled))
  }

  /// Whether a slack is worth a write.
  package func isWorthwhile(_ slack: Int64, of limit: Int64) -> Bool {
    slack >= max(parameters.worthwhile, limit / parameters.worthwhilePart)
  }

  /// What is left until a process is killed, or on cgroup v2 slowed down, in bytes.
  package func distance(_ reading: MemoryReading, to limit: Int64) -> Int64 {
    (version.hasMemoryHigh ? MemoryHigh.line(under: limit) : limit) - reading.workingSet
  }

  /// Whether it was close: less than a quarter of the head was left, or it was slowed down.
  package func isNear(_ reading: MemoryReading, to limit: Int64) -> Bool {
    let distance = distance(reading, to: limit)
    if !version.hasMemoryHigh { return distance < head(at: 0) / 4 }
    return -distance > MemoryHigh.line(under: limit) / 90
  }

  /// When the distance could be half used up at twice the pace that was seen.
  ///
  /// - Parameters:
  ///   - distance: What is left until the limit.
  ///   - rate: How fast it grows; nil where one reading is all there is.
  /// - Returns: Nanoseconds from now.
  package func nextLook(_ distance: Int64, rate: Int64?) -> Nanoseconds {
    let pace = max(1, rate.map { min(parameters.fastest, 2 * $0) } ?? parameters.fastest)
    let time = CFSBandwidth.scaled(distance / 2, by: 1_000_000_000, over: pace)
    return min(parameters.longestSample, max(parameters.shortestSample, time))
  }

  /// What is taken at a rate in a time.
  func taken(at rate: Int64, in time: Nanoseconds) -> Int64 {
    CFSBandwidth.scaled(rate, by: time, over: 1_000_000_000)
  }

  private func roundedUp(_ bytes: Int64) -> Int64 { (bytes + 0xf_ffff) & ~0xf_ffff }
}

extension MemoryLaw {
  /// How near to cgroup v2's line is to be told, in bytes: three quarters of the least head.
  ///
  /// A container nearer than a head is raised. The rest is for what the kernel takes at once, a huge page
  /// at most: where it is told of it is not counted yet.
  package static let near: Int64 = Parameters.standard.leastHead * 3 / 4
}
