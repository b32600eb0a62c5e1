// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
package import Control
internal import Quantities

extension FirstLimits {
  /// The limits that a container alone starts with.
  ///
  /// - Parameters:
  ///   - base: What the CPU limit starts from.
  ///   - memory: The same of the memory limit; nil where that is left alone.
  package init(_ base: CPUBase, _ memory: MemoryBase?) {
    self.init()
    let first = base.initial()
    if first < base.quota(of: base.firstInner) { cpu = base.limit(of: first) }
    if let memory { limit(memory) }
  }

  /// Those of a strict container: its CPU limit does not move.
  ///
  /// - Parameter memory: What the memory limit starts from.
  package init(_ memory: MemoryBase) {
    self.init()
    limit(memory)
  }

  private mutating func limit(_ memory: MemoryBase) {
    guard memory.firstInner < MemoryLimit.unlimited else { return }
    mostMemory = memory.firstInner
    let least = memory.first ?? memory.bounds.clamp(memory.declared ?? memory.limit)
    if least < memory.firstInner {
      self.memory = least
      swap = memory.memorySwap(at: least)
    }
  }

  /// Those of a member of an application, which is granted more: systemd, which writes them at any
  /// time, exceeds no grant.
  ///
  /// - Parameter base: What the CPU limit starts from.
  package init(ofMember base: CPUBase) {
    self.init()
    cpu = base.limit(of: base.bounds(hasAlarm: true).floor)
  }
}
