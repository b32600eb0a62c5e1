// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The one place that applies a container's CPU limit: the law, the application, an update and the
/// correction of another process's write ask it.
///
/// It knows the order (the pod is raised before the container and lowered behind it: cgroup v1
/// refuses any other order), the budget of a member, and what was written last, by whom.
final class CPULimitApplier {
  /// What is declared, and what may be given.
  var base: CPUBase
  /// What other processes write, judged.
  var external: ExternalWrites
  /// What a member has used of what its application granted; nil for a container alone.
  var budget: MemberBooks?
  /// What the application granted last, in nanocores; nil for a container alone.
  var granted: Int64?

  private let handles: ContainerHandles
  /// The weights and protections of the container's own group, which the group around it carries.
  private let weights: GroupWeights

  private var parent: ParentLimit? { handles.parent.cpu }

  /// Takes over what the kernel held when its writers began to be noticed.
  ///
  /// That is the truth, also after a crash. What it holds now is to be judged.
  init(_ handover: ReexecState, _ handles: ContainerHandles) {
    base = handover.base
    self.handles = handles
    weights = GroupWeights(handover)
    external = ExternalWrites(
      ours: handover.found, declared: base.declared, told: base.told,
      isOurGroup: base.inner != nil)
  }

  /// The limit that the kernel should hold: what was written last.
  var ours: CFSBandwidth { external.ours }
  /// The same in nanoseconds of CPU time a period.
  var quota: Nanoseconds { base.quota(of: external.ours) }
  /// Whether limits are only observed.
  var isReadOnly: Bool { handles.writer.isReadOnly }
  /// What the CPU limit may move between.
  var bounds: QuotaBounds { base.bounds(hasAlarm: handles.hearsUse) }

  /// The limit that the kernel has now; nil once the group is gone.
  var current: CFSBandwidth? { try? handles.writer.current() }

  /// Makes this the container's limit.
  ///
  /// - Parameters:
  ///   - limit: The limit.
  ///   - old: What the kernel has, as far as is known; nil for what was written last.
  /// - Throws: ``SystemError``: EAGAIN if it has to be tried again, else as
  ///   ``CgroupWriter/set(_:from:)``.
  func apply(_ limit: CFSBandwidth, over old: CFSBandwidth? = nil) throws(SystemError) {
    let old = old ?? external.ours
    handles.writer.application = base.application
    let excess = base.excess(of: limit)
    try parent?.raise(to: excess)
    do throws(SystemError) {
      try handles.writer.set(limit, from: old)
    } catch {
      guard error.errno == EINVAL, let parent else { throw error }
      // The process that made the pod has written in between.
      parent.review()
      try handles.writer.set(limit, from: old)
    }
    parent?.lower(to: excess)
    external.wrote(limit)
  }

  /// Lowers the limit of a container that has ended: what still exists of the group is no demand.
  func applyAtTheEnd(_ limit: CFSBandwidth) {
    // ENODEV: nothing exists of it any more.
    if !isReadOnly { try? handles.writer.set(limit, from: external.ours) }
  }

  /// Takes a limit that another process has written as it is.
  func accept(_ found: CFSBandwidth) {
    external.wrote(found)
    settleParent()
  }

  // MARK: the container's own group

  /// Looks at the container's own group, if the limit that moves is around it.
  ///
  /// - Returns: What is declared there from now on, if that is new; and whether it was raised.
  func takeInner() -> (declared: CFSBandwidth?, isRaised: Bool) {
    weights.carry()
    // ENODEV: the container has ended, and init's pidfd says so too.
    guard let found = (try? handles.writer.inner()) ?? nil else { return (nil, false) }
    let (before, most) = (base.declared, base.inner)
    let isNew = base.takeInner(found) { limit throws(SystemError) in
      try handles.writer.raiseInner(to: limit)
    }
    guard isNew else { return (nil, base.inner != most) }
    // What changes with it is found by comparison.
    base.declared = before
    return (found, false)
  }

  /// Raises the limit of the container's own group to its application's, if that has grown.
  func raiseInner(to application: Int64) {
    guard base.application != nil else { return }
    base.application = application
    // ENODEV, as in takeInner.
    guard let found = (try? handles.writer.inner()) ?? nil else { return }
    _ = base.takeInner(found) { limit throws(SystemError) in
      try handles.writer.raiseInner(to: limit)
    }
  }

  // MARK: the pod

  /// When to look again at what the pod could not be given; nil if there is nothing of the kind.
  var parentRetry: Nanoseconds? { parent?.retry }

  /// Gives the pod what the container's limit takes, whatever wrote that.
  func settleParent() {
    guard let parent, let current else { return }
    parent.hold(base.excess(of: current))
  }

  /// Raises the pod for an update that is on its way.
  func expectParent(_ applied: CFSBandwidth) {
    guard let parent else { return }
    // Refused: the low-level runtime is refused too, and says so.
    try? parent.raise(to: max(base.excess(of: applied), base.excess(of: ours)))
  }

  /// Looks whether another process has changed the pod's limit.
  ///
  /// - Returns: Whether the container's bounds follow.
  func lookAtParent() -> Bool {
    parent?.look(at: monotonicNow(), holding: base.excess(of: ours))
    return base.above.follow(parent)
  }

  /// Looks at the pod's limit again for a container that joins its application again.
  func reviewParent() {
    if base.above.isRaised { parent?.review() }
    _ = base.above.follow(parent)
  }

  /// Leaves the pod alone: the kernel refuses its limit, or the container's.
  ///
  /// - Returns: What the pod has, as a quota of the container's: that is the most from now on; nil if
  ///   the pod was left alone before.
  func giveUpParent() -> Nanoseconds? {
    guard let parent, let amount = parent.amount else { return nil }
    parent.hold(base.excess(of: ours))
    handles.forgetParent()
    base.above.giveUpRaising(at: amount)
    return base.quota(ofCores: amount)
  }

  /// Reads the limit of the group right above the container's.
  ///
  /// - Returns: Whether it is another one.
  func readAbove() -> Bool {
    // ENODEV: the container ends with the group above it.
    guard let found = try? handles.above?.current(), found.nanocores != base.above.limit else {
      return false
    }
    base.above.limit = found.nanocores
    return true
  }

  /// The container has ended: its pod has what it had before.
  func leaveParents() {
    handles.parent.cpu?.leave()
    handles.parent.memory?.leave()
  }
}
