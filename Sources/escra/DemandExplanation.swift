// SPDX-License-Identifier: Apache-2.0

extension Explanation {
  /// How demand for CPU time is detected.
  var source: String {
    guard let hasAlarm else {
      return "No supervisor has found its cgroup yet."
    }
    if hasHooks {
      return
        "Demand is detected by a BPF program in the scheduler, before the quota is used up. While it "
        + "is idle, that costs nothing."
    }
    if hasAlarm {
      return
        "Demand is detected by a perf event when it wakes up, which costs nothing while it is idle. "
        + "While it is busy, its use is read every few milliseconds."
    }
    return
      "Demand is detected by reading its use 20 times a second, because the kernel refused a perf "
      + "event for its cgroup"
      + (observes ? "." : ". A burst waits up to 50 ms for more than the floor.")
  }
}
