// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Quantities
internal import State
internal import Syscalls

extension ParentLimit {
  /// When to try again if another process has the lock.
  static let retryInterval: Nanoseconds = 10_000_000
}

/// The groups above a container: its pod, whose limit it may raise, and the limits that bound it.
final class ParentComponent: Component {
  private let container: SupervisedContainer

  init(_ container: SupervisedContainer) { self.container = container }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .began: container.limits.settleParent()
    case .effect(.lookAtParent):
      if container.limits.lookAtParent() { return [.redeclare(.cpu, container.base.share)] }
    case .effect(.lookAbove):
      // It bounds the container, and its part of an application.
      if container.limits.readAbove() {
        return [.cpuBoundsChanged, .redeclare(.cpu, container.base.share)]
      }
    case .ended: container.limits.leaveParents()
    default: break
    }
    return []
  }
}

extension ReexecState {
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
      burst: take(.parentBurst))
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
