// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// Why CPUs are not given to a container: one sentence that says what, which value, and what to do.
package enum CPUAllocationError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Less than one CPU is asked for.
  case countBelowOne(Int)
  /// More CPUs are asked for than can be given: of those declared, where there is a set.
  case notEnough(asked: Int, available: Int, within: CPUSet?)
  /// No CPU would be left for all others.
  case lastShared(CPUSet)
  /// Another container holds these of the CPUs that were asked for.
  case held(CPUSet)
  /// The operator keeps these of them.
  case reserved(CPUSet)
  /// The machine does not have these of them, or not now.
  case offline(CPUSet, online: CPUSet)
  /// The cgroup above does not have these of them.
  case notAbove(CPUSet, allowed: CPUSet)

  /// The sentence.
  package var description: String {
    switch self {
    case .countBelowOne(let count):
      "\(count) CPUs cannot be a container's own; ask for 1 or more"
    case .notEnough(let asked, let available, let within):
      "\(asked == 1 ? "1 CPU is" : "\(asked) CPUs are") asked for, and "
        + (available == 0 ? "none" : "\(available)")
        + (within.map { " of the declared \($0)" } ?? "")
        + " can be given, as the last shared CPU never is; "
        + (available == 0 ? "" : "ask for at most \(available), or ")
        + "end a container that has CPUs of its own"
    case .lastShared(let cpus):
      "\(Self.name(cpus)) would leave the others no CPU, and the last shared one is never given; "
        + "ask for fewer"
    case .held(let cpus):
      "\(Self.name(cpus)) belong\(cpus.count == 1 ? "s" : "") to another strict container or partition; "
        + "ask for others, or end that one"
    case .reserved(let cpus):
      "\(Self.name(cpus)) \(Self.are(cpus)) reserved by the operator's reservedCPUs; "
        + "ask for others, or change reservedCPUs"
    case .offline(let cpus, let online):
      "\(Self.name(cpus)) \(Self.are(cpus)) not online; the machine has \(online)"
    case .notAbove(let cpus, let allowed):
      "\(Self.name(cpus)) \(Self.are(cpus)) not among the CPUs of the cgroup above; "
        + "ask for some of \(allowed), or give it more"
    }
  }

  private static func name(_ cpus: CPUSet) -> String {
    (cpus.count == 1 ? "CPU " : "CPUs ") + cpus.description
  }

  private static func are(_ cpus: CPUSet) -> String { cpus.count == 1 ? "is" : "are" }
}
