// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import Quantities

/// A case of a table: who asks, on which machine, and what is in the way.
struct Allocation: Sendable {
  let topology: CPUTopology
  let request: CPUAllocator.Request
  var allowed: CPUSet = "0-8191"
  var reserved: CPUSet = ""
  var taken: CPUSet = ""
  var current: CPUSet = ""

  func result() throws(CPUAllocationError) -> CPUSet {
    try CPUAllocator.allocate(
      request, topology: topology, allowed: allowed, reserved: reserved, taken: taken,
      current: current)
  }
}

@Suite struct CPUAllocatorTests {
  private static let two = Topologies.two
  private static let smt = Topologies.smt
  private static let server = Topologies.server

  private static let choices: [(Allocation, CPUSet)] = [
    (Allocation(topology: two, request: .count(1)), "1"),
    (Allocation(topology: two, request: .count(1), reserved: "1"), "0"),
    (Allocation(topology: two, request: .count(1), allowed: "0"), "0"),
    (Allocation(topology: two, request: .count(1, within: "0")), "0"),
    (Allocation(topology: two, request: .exactly("0")), "0"),

    // Whole cores, the highest first.
    (Allocation(topology: smt, request: .count(2)), "3,7"),
    (Allocation(topology: smt, request: .count(4)), "2-3,6-7"),
    (Allocation(topology: smt, request: .count(2), taken: "7"), "2,6"),
    (Allocation(topology: smt, request: .count(2), reserved: "7"), "2,6"),
    (Allocation(topology: smt, request: .count(2), allowed: "0-6"), "2,6"),
    (Allocation(topology: smt, request: .count(2, within: "0-3,5,7")), "3,7"),
    (Allocation(topology: smt, request: .count(2, within: "0-3")), "2-3"),
    (Allocation(topology: smt, request: .count(7)), "1-7"),
    // A thread alone, of a core that is not whole any more where there is one.
    (Allocation(topology: smt, request: .count(1)), "7"),
    (Allocation(topology: smt, request: .count(1), taken: "0"), "4"),
    (Allocation(topology: smt, request: .count(3)), "3,6-7"),
    (Allocation(topology: smt, request: .count(3), taken: "0"), "3-4,7"),
    (Allocation(topology: smt, request: .count(3), taken: "0-3"), "5-7"),
    (Allocation(topology: Topologies.hybrid, request: .count(1)), "7"),
    (Allocation(topology: Topologies.hybrid, request: .count(2)), "2-3"),
    (Allocation(topology: Topologies.hybrid, request: .count(3)), "2-3,7"),
    (Allocation(topology: Topologies.hybrid, request: .count(2), taken: "0,2"), "6-7"),

    // What is offline is in nobody's way: CPU 1 and CPU 7 are whole cores.
    (Allocation(topology: Topologies.offline, request: .count(1)), "7"),
    (Allocation(topology: Topologies.offline, request: .count(3)), "2,6-7"),
    (Allocation(topology: Topologies.offline, request: .count(1), taken: "7"), "1"),
    (Allocation(topology: Topologies.offline, request: .count(1), taken: "0,7"), "1"),
    (Allocation(topology: Topologies.holes, request: .count(1)), "4"),
    (Allocation(topology: Topologies.holes, request: .count(3)), "9,64,200"),
    (Allocation(topology: Topologies.holes, request: .count(4)), "4,9,64,200"),

    // One node where it fits, and the one with the least room.
    (Allocation(topology: server, request: .count(16)), "24-31,56-63"),
    (Allocation(topology: server, request: .count(2)), "31,63"),
    (Allocation(topology: server, request: .count(2), taken: "15,47"), "14,46"),
    (Allocation(topology: server, request: .count(16), taken: "63"), "16-23,48-55"),
    (Allocation(topology: server, request: .count(14), taken: "0,32,63"), "1-7,33-39"),
    // A core that is whole goes before the room, and so does one that need not be broken.
    (Allocation(topology: server, request: .count(2), taken: "0-7,31"), "30,62"),
    (Allocation(topology: server, request: .count(3), taken: "0,32,24"), "31,56,63"),
    (Allocation(topology: server, request: .count(1), taken: "0,32,24"), "56"),
    // Else one socket, and else the fewest nodes.
    (Allocation(topology: server, request: .count(17)), "24-31,55-63"),
    (Allocation(topology: server, request: .count(32)), "16-31,48-63"),
    (Allocation(topology: server, request: .count(32), taken: "63"), "0-15,32-47"),
    (Allocation(topology: server, request: .count(18), taken: "31,63"), "16-23,30,48-55,62"),
    (Allocation(topology: server, request: .count(40)), "12-31,44-63"),
    (
      Allocation(topology: server, request: .count(34), taken: "0-3,32-35"), "7,16-31,39,48-63"
    ),
    (Allocation(topology: server, request: .count(63)), "1-63"),
    (Allocation(topology: Topologies.interleaved, request: .count(2)), "1,3"),
    (Allocation(topology: Topologies.interleaved, request: .count(2), taken: "3"), "0,2"),
    (Allocation(topology: Topologies.interleaved, request: .count(3)), "1-3"),
    (Allocation(topology: Topologies.virtual, request: .count(1), taken: "5-7"), "4"),
    (Allocation(topology: Topologies.virtual, request: .count(4), taken: "11"), "4-7"),
    (Allocation(topology: Topologies.virtual, request: .count(6), taken: "9-11"), "2-7"),
  ]

  @Test(arguments: choices)
  func `chooses whole cores that lie close together`(asked: Allocation, cpus: CPUSet) throws {
    #expect(try asked.result() == cpus)
  }

  private static let updates: [(Allocation, CPUSet)] = [
    (Allocation(topology: two, request: .count(1), current: "0"), "0"),
    // First the siblings of what it has, then its node, then its socket.
    (Allocation(topology: smt, request: .count(2), current: "1"), "1,5"),
    (Allocation(topology: smt, request: .count(3), current: "1"), "1,5,7"),
    (Allocation(topology: smt, request: .count(3), taken: "5", current: "1"), "1,3,7"),
    (Allocation(topology: server, request: .count(4), current: "0,32"), "0,7,32,39"),
    (
      Allocation(topology: server, request: .count(4), taken: "1-7,33-39", current: "0,32"),
      "0,15,32,47"
    ),
    (
      Allocation(topology: server, request: .count(17), taken: "63", current: "0,32"),
      "0-7,32-39,47"
    ),
    (
      Allocation(topology: server, request: .count(4), taken: "1-15,33-47", current: "0,32"),
      "0,31-32,63"
    ),
    (Allocation(topology: server, request: .count(33), current: "0,32"), "0-15,32-47,63"),
    (Allocation(topology: server, request: .count(33), current: "31,63"), "16-31,47-63"),
    (Allocation(topology: server, request: .count(4), current: "0,31"), "0,31-32,63"),
    // Less of the same: what remains lies close together, in whole cores.
    (Allocation(topology: smt, request: .count(2), current: "0-2,5"), "1,5"),
    (Allocation(topology: smt, request: .count(1), current: "0,2,4"), "2"),
    (Allocation(topology: smt, request: .count(3), current: "0-1,4-5"), "1,4-5"),
    (Allocation(topology: server, request: .count(16), current: "0-63"), "24-31,56-63"),
    (Allocation(topology: server, request: .count(2), current: "0,16,31"), "16,31"),
    (Allocation(topology: server, request: .count(2), current: "7,8,39,40,63"), "8,40"),
    // What it may not have any more it loses.
    (Allocation(topology: smt, request: .count(2), taken: "5", current: "1,5"), "1,7"),
    (Allocation(topology: smt, request: .count(2), reserved: "0,4", current: "0,4"), "3,7"),
    (Allocation(topology: smt, request: .count(2, within: "0-2,4"), current: "0,3"), "0,4"),
    (Allocation(topology: smt, request: .exactly("2"), current: "0-1"), "2"),
  ]

  @Test(arguments: updates)
  func `an update keeps what there is`(asked: Allocation, cpus: CPUSet) throws {
    #expect(try asked.result() == cpus)
  }

  private static let refusals: [(Allocation, CPUAllocationError, String?)] = [
    (
      Allocation(topology: two, request: .count(2)),
      .notEnough(asked: 2, available: 1, within: nil),
      "2 CPUs are asked for, and 1 can be given, as the last shared CPU never is; "
        + "ask for at most 1, or end a container that has CPUs of its own"
    ),
    (
      Allocation(topology: two, request: .count(1), taken: "0"),
      .notEnough(asked: 1, available: 0, within: nil),
      "1 CPU is asked for, and none can be given, as the last shared CPU never is; "
        + "end a container that has CPUs of its own"
    ),
    (
      Allocation(topology: server, request: .count(3, within: "2-3,70")),
      .notEnough(asked: 3, available: 2, within: "2-3,70"),
      "3 CPUs are asked for, and 2 of the declared 2-3,70 can be given, as the last shared CPU "
        + "never is; ask for at most 2, or end a container that has CPUs of its own"
    ),
    (
      Allocation(topology: smt, request: .count(4), allowed: "0-3", reserved: "0"),
      .notEnough(asked: 4, available: 3, within: nil), nil
    ),
    (
      Allocation(topology: smt, request: .count(6), reserved: "0", taken: "1,2"),
      .notEnough(asked: 6, available: 5, within: nil), nil
    ),
    (
      Allocation(topology: smt, request: .count(2), taken: "0-3,5-7", current: "4"),
      .notEnough(asked: 2, available: 0, within: nil), nil
    ),
    (
      Allocation(topology: two, request: .count(1), taken: "0-1"),
      .notEnough(asked: 1, available: 0, within: nil), nil
    ),
    (
      Allocation(topology: two, request: .count(.max)),
      .notEnough(asked: .max, available: 1, within: nil), nil
    ),
    (
      Allocation(topology: two, request: .count(0)), .countBelowOne(0),
      "0 CPUs cannot be a container's own; ask for 1 or more"
    ),
    (Allocation(topology: two, request: .count(.min)), .countBelowOne(.min), nil),
    (Allocation(topology: two, request: .exactly("")), .countBelowOne(0), nil),
    (
      Allocation(topology: smt, request: .exactly("0-7")), .lastShared("0-7"),
      "CPUs 0-7 would leave the others no CPU, and the last shared one is never given; "
        + "ask for fewer"
    ),
    (Allocation(topology: two, request: .exactly("1"), taken: "0"), .lastShared("1"), nil),
    (
      Allocation(topology: smt, request: .exactly("1-3"), taken: "3,7"), .held("3"),
      "CPU 3 belongs to another strict container or partition; ask for others, or end that one"
    ),
    (
      Allocation(topology: smt, request: .exactly("1-3,7"), reserved: "0-2"), .reserved("1-2"),
      "CPUs 1-2 are reserved by the operator's reservedCPUs; ask for others, "
        + "or change reservedCPUs"
    ),
    (
      Allocation(topology: Topologies.offline, request: .exactly("2-3,9")),
      .offline("3,9", online: "0-2,4,6-7"), "CPUs 3,9 are not online; the machine has 0-2,4,6-7"
    ),
    (
      Allocation(topology: smt, request: .exactly("3-4"), allowed: "0-3"),
      .notAbove("4", allowed: "0-3"),
      "CPU 4 is not among the CPUs of the cgroup above; ask for some of 0-3, or give it more"
    ),
  ]

  @Test(arguments: refusals)
  func `what cannot be given is refused in a sentence`(
    asked: Allocation, error: CPUAllocationError, sentence: String?
  ) {
    #expect(throws: error) { try asked.result() }
    if let sentence { #expect(error.description == sentence) }
  }
}
