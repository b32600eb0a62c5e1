// SPDX-License-Identifier: Apache-2.0
internal import Control
package import Quantities

/// An update of a container's limits, from before the low-level runtime is called to its end.
///
/// It is noted in the container's state first. When the runtime has taken it, it becomes what the
/// container declares; when the runtime has refused it, it is dropped. If the shim that waited for
/// the runtime was killed, the kernel's limit tells: it is ``applied`` only if the runtime wrote it.
package struct PendingUpdate: Equatable, Sendable {
  /// The declared CPU limit to come; nil where the update names none.
  package var cpu: CFSBandwidth?
  /// What the low-level runtime is told to write for it.
  package var applied: CFSBandwidth?
  /// The declared memory limit to come, in bytes, -1 for none; nil where the update names none.
  package var memory: Int64?
  /// Memory and swap together likewise.
  package var swap: Int64?

  /// Makes an update.
  package init(
    cpu: CFSBandwidth? = nil, applied: CFSBandwidth? = nil, memory: Int64? = nil, swap: Int64? = nil
  ) {
    self.cpu = cpu
    self.applied = applied
    self.memory = memory
    self.swap = swap
  }

  /// Adds the memory's part to the CPU's.
  package mutating func add(memory limit: Int64?, swap: Int64?) {
    memory = limit ?? memory
    self.swap = swap ?? self.swap
  }
}

extension PendingUpdate {
  private static let names = (
    cpu: ("updateQuota", "updatePeriod"), applied: ("updateAppliedQuota", "updateAppliedPeriod")
  )

  /// Reads what ``write(to:)`` wrote; nil where there is none.
  package init?(_ keyed: KeyValueText) {
    func limit(_ names: (quota: String, period: String)) -> CFSBandwidth? {
      keyed[int: names.period].map { CFSBandwidth(quota: keyed[int: names.quota], period: $0) }
    }
    self.init(
      cpu: limit(Self.names.cpu), applied: limit(Self.names.applied),
      memory: keyed[int: "updateMemory"], swap: keyed[int: "updateSwap"])
    if self == PendingUpdate() { return nil }
  }

  func write(to keyed: inout KeyValueText) {
    for (limit, names) in [(cpu, Self.names.cpu), (applied, Self.names.applied)] {
      keyed[int: names.0] = limit?.quota
      keyed[int: names.1] = limit?.period
    }
    keyed[int: "updateMemory"] = memory
    keyed[int: "updateSwap"] = swap
  }
}

extension ContainerState {
  /// Ends the update that is on its way.
  ///
  /// - Parameter isTaken: Whether the low-level runtime has taken it.
  package mutating func settleUpdate(isTaken: Bool) {
    guard let update else { return }
    self.update = nil
    guard isTaken else { return }
    if let cpu = update.cpu {
      base.declared = cpu
      base.told = update.applied
    }
    redeclare(memory: update.memory, swap: update.swap)
  }
}
