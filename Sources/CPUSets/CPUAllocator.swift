// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Which CPUs become a strict container's own.
package enum CPUAllocator {
  /// What a container asks for.
  package enum Request: Equatable, Sendable {
    /// So many CPUs; where there is a set, of those in it.
    case count(Int, within: CPUSet? = nil)
    /// These and no others.
    case exactly(CPUSet)
  }

  /// Chooses CPUs that no other container has, so that one is left for all others.
  ///
  /// - Parameters:
  ///   - request: What the container asks for.
  ///   - topology: What the machine has.
  ///   - allowed: What the cgroup above the container has.
  ///   - reserved: What the operator gives to no strict container; others may run there.
  ///   - taken: What other strict containers hold.
  ///   - current: What the container holds itself. Of these it keeps as many as it asks for, and more
  ///     come from near them.
  /// - Returns: CPUs that are online and allowed, and neither reserved nor taken.
  /// - Throws: ``CPUAllocationError``.
  package static func allocate(
    _ request: Request, topology: CPUTopology, allowed: CPUSet, reserved: CPUSet, taken: CPUSet,
    current: CPUSet = CPUSet()
  ) throws(CPUAllocationError) -> CPUSet {
    let shared = topology.online.subtracting(taken)
    switch request {
    case .count(let count, let within):
      if count < 1 { throw .countBelowOne(count) }
      var free = shared.intersection(allowed).subtracting(reserved)
      if let within { free = free.intersection(within) }
      let available = max(0, min(free.count, shared.count - 1))
      if count > available {
        throw .notEnough(asked: count, available: available, within: within)
      }
      return CPUChoice(topology: topology, free: free, own: current.intersection(free)).best(count)
    case .exactly(let cpus):
      func refuseAny(
        _ cpus: CPUSet, _ error: (CPUSet) -> CPUAllocationError
      ) throws(CPUAllocationError) {
        if !cpus.isEmpty { throw error(cpus) }
      }
      if cpus.isEmpty { throw .countBelowOne(0) }
      try refuseAny(cpus.subtracting(topology.online)) { .offline($0, online: topology.online) }
      try refuseAny(cpus.subtracting(allowed)) { .notAbove($0, allowed: allowed) }
      try refuseAny(cpus.intersection(reserved)) { .reserved($0) }
      try refuseAny(cpus.intersection(taken)) { .held($0) }
      if shared.isSubset(of: cpus) { throw .lastShared(cpus) }
      return cpus
    }
  }
}
