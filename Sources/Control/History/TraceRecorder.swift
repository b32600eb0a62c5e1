// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Makes the blocks of a ``DemandTrace`` out of readings; pure.
package struct TraceRecorder: Sendable {
  /// The most bytes of a run's trace: about seven busy hours.
  package static let most = 1 << 20

  /// The length of a step.
  package let step: Nanoseconds
  private let start: Nanoseconds
  private let wallClock: Nanoseconds
  /// The steps that are written or in the payload.
  private var steps: Int64 = 0
  private var usage: Nanoseconds
  private var lastTime: Nanoseconds
  private var idle: UInt64 = 0
  private var payload: [UInt8] = []
  private var first: Int64 = 0
  private var written = 0

  /// Starts a trace.
  ///
  /// - Parameters:
  ///   - period: The CFS period.
  ///   - now: The time.
  ///   - wallClock: The same on the wall clock.
  ///   - usage: CPU time used so far.
  package init(
    period: Nanoseconds, now: Nanoseconds, wallClock: Nanoseconds, usage: Nanoseconds
  ) {
    step = max(250_000, min(period / 4, 1_000_000_000))
    start = now
    lastTime = now
    self.wallClock = wallClock
    self.usage = usage
    payload.reserveCapacity(DemandTrace.longest)
  }

  /// Whether the trace is as long as it may be.
  package var isFull: Bool { written >= Self.most }

  /// When the step that is running ends.
  package func end(at now: Nanoseconds) -> Nanoseconds { now + step - (now - start) % step }

  /// Takes a reading.
  ///
  /// - Parameters:
  ///   - usage: CPU time used so far.
  ///   - now: The time.
  /// - Returns: A block to be appended; nil where there is none yet.
  package mutating func note(_ usage: Nanoseconds, at now: Nanoseconds) -> [UInt8]? {
    guard !isFull else { return nil }
    // A look that comes a little early counts: the kernel's timers are that exact.
    let until = (now - start + step / 8) / step
    let count = until - steps
    guard count > 0 else { return nil }
    let units = max(0, usage - self.usage) / DemandTrace.unit
    // What is not a whole unit is the next step's.
    self.usage += units * DemandTrace.unit
    steps = until
    // Its work has ended just now, or goes on: one CPU at the least was busy with it.
    let busy = min(count, (units * DemandTrace.unit + step - 1) / step)
    idle += UInt64(count - busy)
    for index in 0..<busy {
      let share = units * (index + 1) / busy - units * index / busy
      if share == 0 {
        idle += 1
      } else {
        if idle > 0 { append(idle << 1 | 1) }
        idle = 0
        append(UInt64(share) << 1)
      }
    }
    lastTime = now
    return payload.count > DemandTrace.longest - 64 ? block() : nil
  }

  /// The last block; nil where nothing is left to write.
  package mutating func end() -> [UInt8]? {
    if idle > 0 { append(idle << 1 | 1) }
    idle = 0
    return payload.isEmpty || isFull ? nil : block()
  }

  private mutating func append(_ token: UInt64) {
    var rest = token
    while rest >= 0x80 {
      payload.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    payload.append(UInt8(rest))
  }

  private mutating func block() -> [UInt8] {
    let words: [UInt64] = [
      UInt64(DemandTrace.magic) | 1 << 32 | UInt64(payload.count) << 48,
      UInt64(bitPattern: wallClock + first * step), UInt64(bitPattern: step), 0,
    ]
    var bytes: [UInt8] = []
    for word in words + [DemandTrace.checksum(words, payload[...])] {
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * shift))) }
    }
    bytes += payload
    payload.removeAll(keepingCapacity: true)
    // What idles in the middle of two blocks belongs to the next one.
    first = steps - Int64(idle)
    written += bytes.count
    return bytes
  }
}
