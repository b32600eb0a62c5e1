// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// The most that a period of the kernel's may have held, wherever it began.
///
/// The kernel's periods begin at a moment of their own (kernel/sched/fair.c, init_cfs_bandwidth()),
/// which a recorder's windows do not share. Looks at each quarter of a period bound what any period
/// held: the quarters within it, and of the two at its ends what fits in the rest of its time.
struct SlidingPeriod: Sendable {
  private typealias Mark = (time: Nanoseconds, usage: Nanoseconds)

  /// The most of a period that has ended since ``take()``.
  private var most: Nanoseconds = 0
  private var marks: (Mark, Mark, Mark, Mark, Mark, Mark)
  private let period: Nanoseconds
  /// How many CPUs were seen to be busy at once.
  private var cpus: Int64 = 1

  /// Starts at a reading.
  init(period: Nanoseconds, time: Nanoseconds, usage: Nanoseconds) {
    self.period = period
    let mark = (time, usage)
    marks = (mark, mark, mark, mark, mark, mark)
  }

  /// Takes a reading; those between two quarters add nothing.
  mutating func note(time: Nanoseconds, usage: Nanoseconds) {
    let span = time - marks.5.time
    guard span >= period / 8 else { return }
    let use = max(0, usage - marks.5.usage)
    // At a tick the kernel accounts for up to 4 ms that were used in the quarter before.
    if span >= period / 16 * 3, span <= period {
      cpus = max(cpus, (use / 5 * 4 + span - 1) / span)
    }
    marks = (marks.1, marks.2, marks.3, marks.4, marks.5, (time, max(usage, marks.5.usage)))
    bound(from: marks.0, marks.1)
    bound(from: marks.1, marks.2)
    bound(from: marks.2, marks.3)
    bound(from: marks.3, marks.4)
  }

  /// The most since the last call, in nanoseconds of CPU time.
  mutating func take() -> Nanoseconds {
    defer { most = 0 }
    return most
  }

  /// What was used of one window, at most what its CPUs can use in a period.
  func capped(_ use: Nanoseconds) -> Nanoseconds { min(use, period * cpus) }

  /// Bounds the periods that begin between two marks, and end behind the last but one.
  private mutating func bound(from start: Mark, _ next: Mark) {
    let (inner, rest) = (marks.4.usage - next.usage, period - (marks.4.time - next.time))
    guard rest >= 0, marks.5.time - start.time >= period,
      isExact(start, next), isExact(marks.4, marks.5)
    else { return }
    let edges = next.usage - start.usage + marks.5.usage - marks.4.usage
    most = max(most, min(inner + min(edges, rest * cpus), period * cpus))
  }

  /// Whether a look came in time, or there was hardly anything to see.
  private func isExact(_ start: Mark, _ end: Mark) -> Bool {
    end.time - start.time <= period / 8 * 3 || end.usage - start.usage <= period / 16
  }
}
