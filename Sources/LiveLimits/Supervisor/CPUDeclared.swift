// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Quantities
internal import State

/// What the CPU component does about limits that other processes have written or declared.
extension CPUComponent {
  /// Writes our limit again over an old one.
  func writeBack(over found: CFSBandwidth, _ writer: RecordEntry.Writer?) -> [Effect] {
    let base = container.base
    // Refused or gone: the next look finds out which.
    guard (try? limits.apply(base.limit(of: controller.quota), over: found)) != nil else {
      return []
    }
    container.record(
      .drift, before: base.quota(of: found), after: controller.quota, writer: writer)
    return [.wrote]
  }

  /// A new declared limit: the container starts from it as it would at create.
  func take(_ declared: DeclaredLimit) -> [Effect] {
    let found = declared.limit
    switch declared.source {
    case .update(let update):
      let effects = rebase(to: found, .update, settling: update)
      limits.external.declared(found, told: update.applied ?? found)
      return effects
    case .inner:
      let effects = rebase(to: found, .update, declared.writer)
      // What a member has stays its application's to grant.
      if container.isMember { return effects + rejoin() }
      let wanted = container.base.limit(of: controller.quota)
      // Refused: what the law wants it will want again. A runtime writes one file after the other.
      return (try? limits.apply(wanted)) == nil ? effects : effects + [.wrote]
    case .external:
      var effects = rebase(to: found, .news, declared.writer)
      let wanted = container.base.limit(of: controller.quota)
      // Refused: what another process wrote is in force.
      if !limits.isReadOnly, found.quota != nil || container.isMember, wanted != found,
        (try? limits.apply(wanted, over: found)) != nil
      {
        effects.append(.drainWrites)
      } else {
        limits.accept(found)
      }
      return effects + rejoin()
    }
  }

  private func rebase(
    to declared: CFSBandwidth, _ rule: Rule, _ writer: RecordEntry.Writer? = nil,
    settling update: PendingUpdate? = nil
  ) -> [Effect] {
    let before = controller.quota
    let hasOtherPeriod = declared.period != container.base.declared.period
    container.base.declared = declared
    _ = limits.readAbove()
    container.save(settling: update)
    if hasOtherPeriod { restart() }
    // A member has what it was granted, whatever it declares; more is asked for.
    let start = limits.granted.map { container.base.quota(ofCores: $0) }
    // ENODEV: the group is gone, and nothing is written any more.
    if hasOtherPeriod, let start { try? openBudget(held: start) }
    let bounds = limits.bounds
    let effects = adopt(
      quota: start ?? bounds.clamp(container.base.quota(of: declared)), bounds: bounds)
    container.record(rule, before: before, after: controller.quota, writer: writer)
    return effects
  }

  /// Makes what is ours the kernel's limit again, behind an update.
  ///
  /// - Parameter applied: What the low-level runtime wrote; nil if it refused.
  /// - Returns: What follows.
  func bringIntoForce(_ applied: CFSBandwidth?) -> [Effect] {
    guard let found = limits.current else { return [.checkMembers] }
    var effects: [Effect] = []
    if found == applied || limits.isReadOnly {
      limits.accept(found)
      if applied != nil {
        effects = adopt(quota: container.base.quota(of: found), bounds: controller.bounds)
      }
    } else {
      let ours = applied == nil ? limits.ours : container.base.limit(of: controller.quota)
      // Refused: the next look corrects it.
      if found != ours, (try? limits.apply(ours, over: found)) != nil {
        effects.append(.drainWrites)
      }
      limits.external.wrote(ours)
    }
    // The application may have granted something else meanwhile.
    return container.isMember ? effects + writeHeldAgain(.granted) : effects
  }

  /// A member that declares something else joins its application again.
  func rejoin() -> [Effect] {
    guard container.isMember else { return [] }
    limits.reviewParent()
    let share = container.base.share
    return [.redeclare(.cpu, share), .want(share.declared, of: .cpu)]
  }

  /// The kernel refuses a limit: an ancestor has less (v1), and that is the ceiling from now on.
  ///
  /// - Returns: What there is, in nanoseconds of CPU time a period; nil when the group is gone.
  func refuse(
    _ wanted: Nanoseconds, use: Nanoseconds
  ) -> (held: Nanoseconds?, effects: [Effect]) {
    // ENODEV: the group is gone.
    guard let found = try? container.handles.writer.current() else { return (nil, [.checkMembers]) }
    container.record(.refused, before: container.log.lastQuota, after: wanted, use: use)
    let held = container.base.quota(of: found)
    let parent = limits.giveUpParent()
    if parent != nil, var state = container.directory.load() {
      state.cpuParent = nil
      // The next supervisor finds the pod's refusal itself.
      try? container.directory.save(state)
    }
    let effects = adopt(
      quota: held,
      bounds: QuotaBounds(floor: controller.bounds.floor, ceiling: max(held, parent ?? 0)))
    container.record(.refused, before: wanted, after: held, use: use)
    return (held, effects)
  }
}
