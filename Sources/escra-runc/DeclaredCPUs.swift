// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import OCISpec
internal import Quantities

/// The CPUs that config.json or an update reserves for a strict container.
///
/// A quota says how many, a CPU set which; with both, the set says where the number is to be found,
/// so that a program that hands out a pool of CPUs to all containers alike (kubelet's CPU manager
/// does) takes none away and gives none too many.
struct DeclaredCPUs {
  /// Quota over period; nil for none.
  let bandwidth: CFSBandwidth?
  /// A CPU list, as it was written; nil or empty for none.
  let cpuset: String?

  /// What is reserved; nothing where nothing is declared.
  ///
  /// - Throws: ``Refusal`` for a fraction of a CPU, or a list that is none.
  func reservation() throws(Refusal) -> CPURequest {
    CPURequest(count: try wholeCPUs(), set: try set())
  }

  private func wholeCPUs() throws(Refusal) -> Int? {
    guard let bandwidth, let quota = bandwidth.quota, let cores = bandwidth.inMillicores else {
      return nil
    }
    let (below, rest) = quota.quotientAndRemainder(dividingBy: bandwidth.period)
    if rest == 0, below > 0 { return Int(clamping: below) }
    let choice = below > 0 ? "\(below) or \(below + 1)" : "1"
    throw Refusal(
      sentence: "the policy \"strict\" reserves whole CPUs, and quota \(quota) of period "
        + "\(bandwidth.period) is \(cores); "
        + "declare \(choice), or use the policy reactive")
  }

  private func set() throws(Refusal) -> CPUSet? {
    guard let cpuset, !cpuset.isEmpty else { return nil }
    if let set = CPUSet(list: cpuset), !set.isEmpty { return set }
    throw Refusal(
      sentence: "the CPU set \(quoted(cpuset)) is no list of CPUs; write it as \"0-2,5\"")
  }
}
