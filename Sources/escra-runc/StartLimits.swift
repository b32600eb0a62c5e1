// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import LiveLimits
internal import OCISpec
internal import Quantities
internal import State

extension SupervisedStart {
  /// In how many groups it is to be.
  private var plan: GroupPlan {
    let request = GroupPlan.Request(
      hidesLimits: policy.name != .observe && policy.visible == .declared,
      movesCPU: policy.name == .reactive, movesMemory: memoryBase != nil,
      isRoot: geteuid() == 0, cgroup: placed)
    return GroupPlan(request, root: call.root, id: id)
  }

  /// Makes a group of ours for the container's own, if it is to have one.
  ///
  /// - Returns: The group, or why there is none although one could be expected.
  func makeOuter(
    for directory: borrowing StateDirectory
  ) -> (group: OuterGroup?, reason: String?) {
    switch plan {
    case .one(let reason): return (nil, reason)
    case .two(let group):
      do throws(NoOuterGroup) {
        try OuterGroups.make(group, of: id, directory.nonce, limits, call.stateRoot)
        return (group, nil)
      } catch { return (nil, error.reason) }
    }
  }

  var limits: FirstLimits {
    if membership != nil { return FirstLimits(ofMember: base) }
    if policy.name == .strict, let memoryBase { return FirstLimits(memoryBase) }
    return FirstLimits(base, memoryBase)
  }

  /// What the CPU limit starts from and moves between.
  var base: CPUBase {
    var base = CPUBase(
      declared: declared, floor: floor.nanocores,
      explicitCeiling: explicitCeiling?.nanocores, limit: policy.cpuLimit.nanocores)
    base.predicted = prediction?.cpu
    return base
  }

  /// A member may have what its application has, unless it says that it wants less.
  private var explicitCeiling: CPUAmount? {
    membership == nil ? policy.askedCPUCeiling : policy.ownCPUMaximum ?? policy.cpuLimit
  }

  /// Alone it has no more than it declares; a member may need more at the least.
  var floor: CPUAmount { membership == nil ? policy.cpu.floor : policy.ownCPUMinimum }

  /// As ``floor``, of memory, in bytes.
  var memoryFloor: Int64 { membership == nil ? policy.memory.floor : policy.ownMemoryMinimum }

  /// As ``explicitCeiling``, of memory.
  private var explicitMemoryCeiling: Int64? {
    membership == nil
      ? policy.askedMemoryCeiling : policy.ownMemoryMaximum ?? policy.memoryLimit
  }

  /// What the memory limit starts from and moves between; nil where nothing asks for it to move.
  var memoryBase: MemoryBase? {
    guard policy.memoryIsManaged, policy.name != .standard else { return nil }
    let declared = document.declared.memory
    let swap = document.declared.memorySwap.flatMap { $0 > 0 ? $0 : nil }
    var base = MemoryBase(
      declared: declared,
      swapAllowance: declared.flatMap { limit in swap.map { max(0, $0 - limit) } },
      floor: memoryFloor, explicitCeiling: explicitMemoryCeiling,
      limit: policy.memoryLimit, hostReserve: memoryReserve)
    if let image, declared != nil || membership != nil {
      let needed = min(image.limit, base.bounds.ceiling)
      if needed > declared ?? 0 { base.needed = needed }
    }
    base.predicted = prediction?.memory
    return base
  }

  /// The same for a container in one group that is a scope of cgroup v2; nil for others.
  ///
  /// systemd writes what the low-level runtime told it whenever it looks at the scope, and less than
  /// what is used is a kill. So the runtime tells it the most that the container may have.
  var scopeMemory: MemoryBase? {
    guard placed.unit != nil, CgroupMount.hasUnifiedCPU, var base = memoryBase else { return nil }
    // A member's limit at create is what was granted, which will not stay the most.
    if membership != nil { base.explicitCeiling = policy.ownMemoryMaximum }
    base.told = base.most ?? MemoryLimit.unlimited
    return base
  }

  /// The declared limit, as the kernel counts.
  var declared: CFSBandwidth {
    CFSBandwidth(
      quota: document.declared.cpu?.quota,
      period: document.declared.cpu?.period ?? CFSBandwidth.defaultPeriod)
  }

  /// The first limit, if it is more than was declared, as far as what is above the container
  /// allows: cgroup v1 would refuse it, and the container with it.
  func withinAncestors(_ limit: CFSBandwidth, _ base: CPUBase) -> CFSBandwidth {
    let asked = base.quota(of: limit)
    let declared = base.quota(of: self.declared)
    guard asked > declared, let path = cgroup.path,
      let above = CgroupLocation.ancestorLimit(above: path)
    else { return limit }
    let most = base.quota(of: CFSBandwidth(quota: above / 1000, period: 1_000_000))
    return base.limit(of: max(declared, min(asked, most)))
  }

  /// Puts the first limit where it holds at the container's first instruction.
  func first(_ limit: CFSBandwidth, _ memory: Int64?) -> ConfigEdit {
    var change = ConfigEdit()
    if limit != declared {
      change = ConfigEdit.limit(limit)
    }
    if let memory, memory != document.declared.memory {
      change.memoryLimit = memory
      change.memorySwap = memoryBase?.requestedSwap(at: memory)
    }
    return change
  }
}
