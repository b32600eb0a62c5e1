public struct CPUTopology {
  let online: CPUSet
  init(reading: String) { online = CPUSet(Machine.onlineCPUs()) }
  func memoryNodes(for cpus: CPUSet, declaredMemory: Int64?) -> CPUSet? { nil }
}
public struct CPUAllocationError: Error, CustomStringConvertible, Sendable, Equatable {
  public var description: String
}
public enum CPUAllocator {
  public enum Request {
    case count(Int), exactly(CPUSet); case count2(Int, within: CPUSet)
    static public func count(_ n: Int, within: CPUSet) -> Request { .count2(n, within: within) }
  }
  static func allocate(
    _ request: Request, topology: CPUTopology, allowed: CPUSet, reserved: CPUSet, taken: CPUSet,
    current: CPUSet
  ) throws(CPUAllocationError) -> CPUSet {
    let free = topology.online.intersection(allowed).subtracting(reserved).subtracting(taken)
    let result: CPUSet
    switch request {
    case .exactly(let set): result = set
    case .count(let n):
      result = CPUSet(free.cpus.suffix(n));
      if result.count < n { throw CPUAllocationError(description: "not enough") }
    case .count2(let n, let within):
      result = CPUSet(free.intersection(within).cpus.suffix(n));
      if result.count < n { throw CPUAllocationError(description: "not enough") }
    }
    if !result.isSubset(of: free) { throw CPUAllocationError(description: "not free") }
    if topology.online.subtracting(taken).subtracting(result).isEmpty {
      throw CPUAllocationError(description: "the last shared CPU")
    }
    return result
  }
}
