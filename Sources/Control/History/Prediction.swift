// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container's first limits should be, by what earlier runs needed in their first seconds.
///
/// The law raises what turns out to be too little.
package struct Prediction: Equatable, Sendable {
  /// The CPU limit, in nanocores.
  package var cpu: Int64
  /// The memory limit, in bytes; nil where no run's memory could be read.
  package var memory: Int64?

  /// Concludes from a profile; nil where it has fewer than ``Recommendation/leastRuns`` runs.
  ///
  /// - Parameters:
  ///   - profile: The profile.
  ///   - now: The time on the wall clock.
  package init?(_ profile: Profile, now: Nanoseconds) {
    self.init(EarlyNeeds(profile), now: now)
  }

  /// Concludes from what was needed; nil for fewer than ``Recommendation/leastRuns`` runs.
  ///
  /// - Parameters:
  ///   - needs: What the runs needed.
  ///   - now: The time on the wall clock.
  package init?(_ needs: EarlyNeeds, now: Nanoseconds) {
    // One run in ten is given more memory by the law, as it takes it: a limit that is kept for the
    // rarest runs is not used by all others.
    guard needs.runs.count >= Recommendation.leastRuns,
      let cpu = needs.percentile(0.98, now: now, of: { $0.cpu }),
      let memory = needs.percentile(0.9, now: now, of: { $0.memory })
    else { return nil }
    self.cpu = cpu + cpu / 100 * 15
    self.memory = memory > 0 ? memory + memory / 100 * 15 : nil
  }
}
