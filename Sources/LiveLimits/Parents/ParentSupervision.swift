// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

extension ParentLimit {
  /// When to try again what somebody else's lock was in the way of.
  static let retryInterval: Nanoseconds = 10_000_000
}

/// What a supervisor does with the limit of the group that its container is in with others: raised
/// before the container's own, lowered behind it. cgroup v1 refuses any other order, and on v2 the
/// lesser of the two would hold.
extension Supervision {
  /// Makes this the container's limit.
  ///
  /// - Throws: ``SystemError``: EAGAIN where it has to be tried again, else as
  ///   ``CgroupWriter/set(_:from:)``.
  func setLimit(_ limit: CPUQuota, from old: CPUQuota) throws(SystemError) {
    attachment.writer.application = base.application
    guard let parent = attachment.parent.cpu else {
      return try attachment.writer.set(limit, from: old)
    }
    let excess = base.excess(of: limit)
    try parent.raise(to: excess)
    do throws(SystemError) {
      try attachment.writer.set(limit, from: old)
    } catch {
      guard error.errno == EINVAL else { throw error }
      // The parent's maker has written in between.
      parent.review()
      try attachment.writer.set(limit, from: old)
    }
    parent.lower(to: excess)
    comeBackToParent()
  }

  /// Has the parent have what the container's limit takes, whoever wrote that.
  func settleParent() {
    guard let parent = attachment.parent.cpu,
      let found = try? attachment.writer.current(besides: foreign.ours)
    else { return }
    parent.hold(base.excess(of: found))
    comeBackToParent()
  }

  /// An update is on its way from what there is to this.
  func expectParent(_ applied: CPUQuota) {
    guard let parent = attachment.parent.cpu else { return }
    try? parent.raise(to: max(base.excess(of: applied), base.excess(of: foreign.ours)))
  }

  /// Somebody else may have written the parent's limit.
  func lookAtParent() {
    attachment.parent.cpu?.look(
      at: monotonicNow(), holding: base.excess(of: foreign.ours))
    if base.above.follow(attachment.parent.cpu) { application?.redeclare((.cpu, base.share)) }
  }

  /// Looks again where the parent could not be given what it is to have.
  func comeBackToParent() {
    guard let retry = attachment.parent.cpu?.retry else { return }
    nextReading = min(nextReading ?? .max, retry)
  }

  /// Nothing was written: what the law wants it will want again.
  func holdOn() {
    controller.hold(base.quota(of: foreign.ours))
    nextReading = min(nextReading ?? .max, monotonicNow() + ParentLimit.retryInterval)
  }

  /// The kernel would not have the container's limit, or its parent's: what that has is the most
  /// from now on, as where nobody may change it.
  ///
  /// - Returns: As a quota of the container's; nil where its parent is left alone anyhow.
  func giveUpParent() -> Nanoseconds? {
    guard let parent = attachment.parent.cpu, let amount = parent.amount else { return nil }
    parent.hold(base.excess(of: foreign.ours))
    attachment.forgetParent()
    base.above.giveUpRaising(at: amount)
    if var state = directory.load() {
      state.cpuParent = nil
      try? directory.save(state)
    }
    return base.quota(ofCores: amount)
  }

  /// Another process may have written the limit of the group right above, which bounds the container
  /// and its part of an application.
  func lookAbove() {
    guard readAbove() else { return }
    adopt(quota: controller.quota, bounds: base.bounds(hasAlarm: attachment.hearsUse))
    application?.redeclare((.cpu, base.share))
  }

  /// Reads that limit.
  ///
  /// - Returns: Whether it is another one.
  func readAbove() -> Bool {
    guard let found = try? attachment.above?.current(), found.nanocores != base.above.limit else {
      return false
    }
    base.above.limit = found.nanocores
    return true
  }

  /// The container has ended.
  func leaveParents() {
    attachment.parent.cpu?.leave()
    attachment.parent.memory?.leave()
  }
}

extension Handover {
  /// The limits of the group that the container is in with others, as ``FoundParent`` opened them.
  ///
  /// - Parameter nonce: Of the container's instance.
  /// - Returns: nil for what may not be changed.
  func takeParents(_ nonce: UInt64) -> (cpu: ParentLimit?, memory: ParentLimit?) {
    (takeParentQuota(nonce), takeParentMemory(nonce))
  }

  private func takeParentQuota(_ nonce: UInt64) -> ParentLimit? {
    guard has(.parentRecord) else { return nil }
    let writer = CgroupWriter(
      version: version, readOnly: false, quota: take(.parentQuota), period: take(.parentPeriod),
      burst: take(.parentBurst), outer: .none, outerBurst: .none)
    return ParentLimit(
      ParentRecord(owning: take(.parentRecord)), ParentQuota(writer), nonce: nonce)
  }

  private func takeParentMemory(_ nonce: UInt64) -> ParentLimit? {
    guard has(.parentMemoryRecord) else { return nil }
    let writer = MemoryWriter(
      limitAlone: take(.parentMemory), line: take(.parentMemoryLine))
    return ParentLimit(
      ParentRecord(owning: take(.parentMemoryRecord)),
      ParentMemory(writer, usage: take(.parentMemoryUsage)), nonce: nonce)
  }
}
