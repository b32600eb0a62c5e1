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
  /// The right to edit, asked for once more where it could not be had.
  func held(
    _ edit: consuming BundleEdit?, _ bundle: borrowing Bundle
  ) throws(LaunchFailure) -> BundleEdit {
    if let edit { return edit }
    do throws(ConfigError) { return try bundle.edit() } catch {
      throw LaunchFailure(error.description)
    }
  }

  /// Puts the container's own group into one of ours, with the most that it may have for its limits:
  /// that is what programs in it see.
  func enter(_ group: OuterGroup, _ state: ContainerState, _ change: inout ConfigEdit) {
    change.cgroupsPath = group.cgroupsPath
    (change.memoryLimit, change.memorySwap) = (nil, nil)
    if group.kind != .legacy, state.claim == nil {
      let cpu = state.base.firstInner
      if cpu != declared { (change.cpuQuota, change.cpuPeriod) = (cpu.quota ?? -1, cpu.period) }
    }
    if let memory = state.memory, memory.firstInner != memory.declared ?? MemoryLimit.unlimited {
      change.memoryLimit = memory.firstInner
      change.memorySwap = memory.requestedSwap(at: memory.firstInner)
    }
  }

  func apply(
    _ change: ConfigEdit, _ edit: borrowing BundleEdit, _ bundle: borrowing Bundle
  ) throws(LaunchFailure) {
    do throws(ConfigError) {
      // Read again: only now is it certain that no other program's edit is in its place.
      let document = try ConfigDocument(try bundle.config())
      try edit.apply(change, to: document)
    } catch { throw LaunchFailure(error.description) }
  }
}
