// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// How fast a container uses CPU: the slope of its demand, from readings of its usage.
struct Pace: Sendable {
  private var anchor: (time: Nanoseconds, usage: Nanoseconds)
  /// The fastest of the window that is open, as CPU time a period.
  private var fastest: Nanoseconds = 0

  /// Starts at a reading.
  init(at now: Nanoseconds, _ usage: Nanoseconds) { anchor = (now, usage) }

  /// Takes note of a reading.
  mutating func take(
    _ usage: Nanoseconds, _ now: Nanoseconds, _ parameters: CPUController.Parameters
  ) {
    guard now - anchor.time >= parameters.paceSpan else { return }
    fastest = estimate(usage, now, parameters)
    anchor = (now, usage)
  }

  /// Forgets the paces before the window that opens.
  mutating func openWindow() { fastest = 0 }

  /// The fastest pace so far, with what was used since it was last measured.
  ///
  /// - Returns: Nanoseconds of CPU time that a whole period at this pace would take.
  func estimate(
    _ usage: Nanoseconds, _ now: Nanoseconds, _ parameters: CPUController.Parameters
  ) -> Nanoseconds {
    let time = max(now - anchor.time, parameters.paceSpan)
    let latest = CFSBandwidth.scaled(usage - anchor.usage, by: parameters.period, over: time)
    return min(parameters.cpus * parameters.period, max(fastest, latest))
  }
}
