// SPDX-License-Identifier: Apache-2.0
internal import LiveLimits
internal import OCISpec

/// The CPUs that a container reserves by what it declares.
///
/// A quota says how many, a CPU set which; with both, the set says where the number is to be found.
struct CPUReservation {
  /// Quota over period; nil for none.
  let bandwidth: CPUBandwidth?
  /// A CPU list, as it was written; nil or empty for none.
  let cpuset: String?

  /// What to ask the allocator for.
  ///
  /// - Throws: ``Refusal`` for a fraction of a CPU, a list that is none, or no declaration at all.
  func request() throws(Refusal) -> CPUAllocator.Request {
    switch (try wholeCPUs(), try set()) {
    case (let count?, let set?): return .count(count, within: set)
    case (let count?, nil): return .count(count)
    case (nil, let set?): return .exactly(set)
    case (nil, nil):
      throw Refusal(
        sentence: "the policy \"strict\" reserves the CPUs that a container declares, and this one "
          + "declares none; give it a CPU limit of whole CPUs (quota 100000 of period 100000 is one) "
          + "or a CPU set")
    }
  }

  private func wholeCPUs() throws(Refusal) -> Int? {
    guard let bandwidth else { return nil }
    if let whole = bandwidth.wholeCPUs, whole > 0 { return Int(whole) }
    let below = bandwidth.quota / bandwidth.period
    let choice = below > 0 ? "\(below) or \(below + 1)" : "1"
    throw Refusal(
      sentence: "the policy \"strict\" reserves whole CPUs, and quota \(bandwidth.quota) of period "
        + "\(bandwidth.period) is \(CPULimit(millicores: bandwidth.millicoresRoundedUp)); "
        + "declare \(choice), or use the policy reactive")
  }

  private func set() throws(Refusal) -> CPUSet? {
    guard let cpuset, !cpuset.isEmpty else { return nil }
    if let set = CPUSet(list: cpuset), !set.isEmpty { return set }
    throw Refusal(
      sentence: "the CPU set \(quoted(cpuset)) is no list of CPUs; write it as \"0-2,5\"")
  }
}
