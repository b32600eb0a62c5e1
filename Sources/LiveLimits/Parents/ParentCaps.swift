// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// A second lock on an application's limit: that of the group in which there is nothing but its
/// members, where the operator says that there is one.
///
/// Whoever is the broker keeps it: a larger limit goes there before any member hears of it, a
/// smaller one behind all that was recalled for it.
final class ParentCaps {
  private let cpu: ParentLimit?
  private let memory: ParentLimit?
  private var told: (cpu: Int64?, memory: Int64?)

  /// - Returns: nil where there is no such group.
  init?(_ parent: (cpu: ParentLimit?, memory: ParentLimit?)) {
    guard parent.cpu?.isShared == true || parent.memory?.isShared == true else { return nil }
    cpu = parent.cpu?.isShared == true ? parent.cpu : nil
    memory = parent.memory?.isShared == true ? parent.memory : nil
  }

  /// Whoever was the broker before may have said anything.
  func forget() { told = (nil, nil) }

  /// Before anything is granted under these limits, in nanocores and bytes.
  func widen(cpu amount: Int64, memory bytes: Int64) {
    if amount > told.cpu ?? -1 { set(cpu, amount, &told.cpu) }
    if bytes > told.memory ?? -1 { set(memory, bytes, &told.memory) }
  }

  /// When everything that these limits take was recalled.
  func narrow(cpu amount: Int64, memory bytes: Int64) {
    if amount != told.cpu { set(cpu, amount, &told.cpu) }
    if bytes != told.memory { set(memory, bytes, &told.memory) }
  }

  private func set(_ parent: ParentLimit?, _ amount: Int64, _ told: inout Int64?) {
    guard let parent else { return }
    do throws(SystemError) {
      // No limit in force yet, or none at all, is nothing to be held to.
      try parent.cap(at: amount > 0 && amount < ApplicationMessage.most ? amount : nil)
      told = amount
    } catch { told = nil }
  }
}
