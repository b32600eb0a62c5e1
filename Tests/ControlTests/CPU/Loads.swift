// SPDX-License-Identifier: Apache-2.0
import TestValues

@testable import Quantities

/// Demands that come again in every run, as what arrives for each thread at a moment.
enum Load: CaseIterable {
  /// A request of 30 ms of CPU every 300 ms.
  case requests
  /// Two threads with 80 ms each, once in two seconds.
  case batches
  /// A tenth of a second of work for one thread every half second, with a little in between.
  case waves
  /// Six tenths of a CPU, in pieces of 10 ms.
  case steady
  /// 1.4 CPUs on two threads.
  case broad
  /// A burst of random length on one or two threads, at random.
  case random

  /// What arrives at a moment, in nanoseconds of CPU time for each of two threads.
  func work(at now: Nanoseconds) -> [Nanoseconds] {
    let ms: Nanoseconds = 1_000_000
    switch self {
    case .requests: return [now % (300 * ms) == 0 ? 30 * ms : 0, 0]
    case .batches: return now % (2000 * ms) == 0 ? [80 * ms, 80 * ms] : [0, 0]
    case .waves:
      if now % (500 * ms) == 0 { return [100 * ms, 0] }
      return [now % (50 * ms) == 0 ? 2 * ms : 0, 0]
    case .steady: return [now % (10 * ms) == 0 ? 6 * ms : 0, 0]
    case .broad: return now % (10 * ms) == 0 ? [7 * ms, 7 * ms] : [0, 0]
    case .random:
      guard now % (10 * ms) == 0 else { return [0, 0] }
      var random = SeededGenerator(seed: UInt64(now / ms))
      guard UInt8.random(in: 0..<30, using: &random) == 0 else { return [0, 0] }
      let burst = Nanoseconds.random(in: 5...80, using: &random) * ms
      return [burst, Bool.random(using: &random) ? burst : 0]
    }
  }
}
