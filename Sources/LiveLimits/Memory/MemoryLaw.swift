// SPDX-License-Identifier: Apache-2.0
public import Syscalls

/// What a container uses of its memory at one moment, in bytes.
public struct MemoryReading: Equatable, Sendable {
  /// All that is charged to it: memory.usage_in_bytes or memory.current.
  public var usage: Int64
  /// Page cache that was not used again, inactive_file of memory.stat.
  ///
  /// The kernel drops it before it kills anybody.
  public var inactiveFile: Int64

  /// Makes a reading.
  public init(usage: Int64, inactiveFile: Int64 = 0) {
    self.usage = usage
    self.inactiveFile = min(max(inactiveFile, 0), usage)
  }

  /// What it needs: all but page cache that was not used again, as kubelet and cAdvisor count.
  public var workingSet: Int64 { usage - inactiveFile }
}

/// How much memory a container gets: what it uses and a head, as pure functions of a reading.
///
/// The head is what it may take before a raise is there; nothing pauses it at the limit, so a
/// raise that comes late is a kill. A limit stands a head above a rung of the ``MemoryLadder``:
/// whoever crosses the rung has called the supervisor, with a head left to go.
public struct MemoryLaw: Equatable, Sendable {
  /// The constants of the law.
  public struct Parameters: Equatable, Sendable {
    /// The least head: 8 MiB.
    ///
    /// One CPU at full speed, 2.7 GB/s, takes 3 ms for it; a supervisor is awake within 0.14 ms in
    /// 99 of 100 cases, and after 4 ms in the worst one that was seen on an idle machine.
    public var leastHead: Int64 = 8 << 20
    /// The greatest head: 256 MiB, so that one absurd reading costs no more.
    public var greatestHead: Int64 = 256 << 20
    /// Within this a raise is there, also on a busy machine: 5 ms.
    public var reaction: Nanoseconds = 5_000_000
    /// For how long a raise has to last at the pace of the demand: 12 ms.
    public var lasting: Nanoseconds = 12_000_000
    /// The fastest that a container is expected to grow while its pace is not known: 4 GiB/s.
    public var fastest: Int64 = 4 << 30
    /// For how long slack has to last until it is given back: 1 s.
    ///
    /// Escra's controller looks every 5 s; what allocates again within a second is one demand.
    public var slackAfter: Nanoseconds = 1_000_000_000
    /// For how long a container keeps what it starts with at the least: 2 s, since runtimes size
    /// themselves by the limit they find.
    public var settling: Nanoseconds = 2_000_000_000
    /// What has to be there to give back for a write to be worth it: 8 MiB, or a sixteenth.
    public var worthwhile: Int64 = 8 << 20
    /// The part of the limit that ``worthwhile`` is at the least: a sixteenth.
    public var worthwhilePart: Int64 = 16
    /// Growing within this time after giving back is a regret: 1 s.
    public var regretWithin: Nanoseconds = 1_000_000_000
    /// How long slack has to last at the most, after many regrets: 60 s.
    public var longestWait: Nanoseconds = 60_000_000_000
    /// The shortest time between two readings: 0.5 ms.
    public var shortestSample: Nanoseconds = 500_000
    /// The longest time between two readings while it grows: 10 ms.
    public var longestSample: Nanoseconds = 10_000_000

    /// Our constants.
    public static let standard = Parameters()
  }

  /// The constants.
  public let parameters: Parameters
  /// Where the kernel calls.
  public let ladder: MemoryLadder

  /// A law for a container that may have at most `limit` bytes.
  public init(_ parameters: Parameters = .standard, to limit: Int64) {
    self.parameters = parameters
    ladder = MemoryLadder(to: limit)
  }

  /// What it may take before a raise is there: max(8 MiB, rate x 5 ms).
  ///
  /// - Parameter rate: How fast it grows, in bytes a second.
  /// - Returns: Bytes.
  public func head(at rate: Int64) -> Int64 {
    min(
      parameters.greatestHead, max(parameters.leastHead, taken(at: rate, in: parameters.reaction)))
  }

  /// The least limit under which nobody has to look: the kernel calls a head before the limit.
  ///
  /// - Parameters:
  ///   - reading: What is used.
  ///   - rate: How fast it grows, in bytes a second.
  ///   - ahead: What it is expected to take until it is looked at again, in bytes.
  /// - Returns: Bytes.
  public func need(_ reading: MemoryReading, rate: Int64 = 0, ahead: Int64 = 0) -> Int64 {
    let head = head(at: rate)
    let byRung = ladder.rung(above: reading.usage + ahead) + head
    // Page cache up to the limit hides the rungs. What calls then is reclaim, and what is left to
    // reclaim is the head.
    guard reading.inactiveFile >= head else { return byRung }
    return min(byRung, roundedUp(reading.workingSet + ahead + 2 * head))
  }

  /// What to raise to: the need, and what it takes at its pace for as long as a raise has to last.
  public func raised(_ reading: MemoryReading, rate: Int64) -> Int64 {
    need(reading, rate: rate, ahead: taken(at: rate, in: parameters.lasting))
  }

  /// Whether a slack is worth a write.
  public func isWorthwhile(_ slack: Int64, of limit: Int64) -> Bool {
    slack >= max(parameters.worthwhile, limit / parameters.worthwhilePart)
  }

  /// What is left until the limit before somebody is killed.
  public func distance(_ reading: MemoryReading, to limit: Int64) -> Int64 {
    limit - reading.workingSet
  }

  /// When the distance could be half used up at twice the pace that was seen.
  ///
  /// - Parameters:
  ///   - distance: What is left until the limit.
  ///   - rate: How fast it grows; nil where one reading is all there is.
  /// - Returns: Nanoseconds from now.
  public func nextLook(_ distance: Int64, rate: Int64?) -> Nanoseconds {
    let pace = max(1, rate.map { min(parameters.fastest, 2 * $0) } ?? parameters.fastest)
    let time = CPUQuota.scaled(distance / 2, by: 1_000_000_000, over: pace)
    return min(parameters.longestSample, max(parameters.shortestSample, time))
  }

  /// What is taken at a rate in a time.
  func taken(at rate: Int64, in time: Nanoseconds) -> Int64 {
    CPUQuota.scaled(rate, by: time, over: 1_000_000_000)
  }

  private func roundedUp(_ bytes: Int64) -> Int64 { (bytes + 0xf_ffff) & ~0xf_ffff }
}
