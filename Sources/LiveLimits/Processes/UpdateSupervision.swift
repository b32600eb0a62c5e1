// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// An update between its note and its end, in a supervisor's hands.
struct OpenUpdate {
  var update = PendingUpdate()
  /// The connection of the shim that waits for the low-level runtime; nil once it is gone.
  var owner: UInt64?
  let start: Nanoseconds
  /// When the kernel's limit decides, where no shim will say how the runtime ended.
  var deadline: Nanoseconds?
  /// Whether the last foreign write was ``PendingUpdate/applied``.
  var isShown = false

  /// A runtime that was killed together with its shim writes nothing after this time.
  static let patienceWithRuntime: Nanoseconds = 1_000_000_000
  /// A shim whose supervisor died finds the next one within this time.
  static let patienceWithShim: Nanoseconds = 5_000_000_000
  /// A shim that is stopped keeps other updates waiting no longer than this.
  static let patience: Nanoseconds = 10_000_000_000

  /// Whether another connection has to wait until this one has ended.
  func excludes(_ token: UInt64, at now: Nanoseconds) -> Bool {
    owner != token && now - start < Self.patience
  }
}

/// An update is one transaction. The supervisor notes it, the shim calls the low-level runtime and
/// says how that ended; then the update becomes the base, or is dropped.
extension Supervision {
  func hear(update message: ControlMessage, from token: UInt64) -> ControlMessage? {
    if case .updateEnded(let isTaken) = message {
      // A note of a supervisor that died has no connection.
      if updating?.owner ?? token == token { settleUpdate(isTaken: isTaken) }
      return .updateSettled
    }
    let now = monotonicNow()
    if let open = updating, open.owner == nil, case .update(let quota, let period) = message,
      base.declared.redeclared(quota: quota, period: period) == open.update.cpu
    {
      // Its shim has lost a supervisor before it called the runtime, and begins again.
      updating = nil
    }
    if let open = updating, open.owner != token {
      if open.excludes(token, at: now) { return .updating }
      settleUpdate(isTaken: open.isShown)
    }
    var open = updating ?? OpenUpdate(owner: token, start: now)
    let answer: ControlMessage
    switch message {
    case .update(let quota, let period):
      var next = base
      next.declared = base.declared.redeclared(quota: quota, period: period)
      // The kernel will refuse it, and the low-level runtime will say so.
      guard next.declared.isAcceptable else { return .apply(next.declared) }
      // The container's own group gets what is asked for.
      let applied = base.inner == nil ? applied(for: next) : next.declared
      open.update.cpu = next.declared
      open.update.applied = applied
      answer = .apply(applied)
    case .updateMemory(let limit, let swap):
      let applied: (limit: Int64?, swap: Int64?) =
        memory?.applied(limit: limit, swap: swap) ?? (nil, nil)
      open.update.add(memory: limit, swap: swap)
      answer = .applyMemory(limit: applied.limit, swap: applied.swap)
    default: return nil
    }
    do throws(SystemError) { try directory.note(open.update) } catch {
      return .notNoted(errno: error.errno)
    }
    updating = open
    memory?.isUpdating = true
    if base.inner == nil, let applied = open.update.applied { expectParent(applied) }
    return answer
  }

  /// What the low-level runtime is told to write, so that it takes back nothing that was given.
  private func applied(for next: CPUBase) -> CPUQuota {
    // A member has what it was granted, whatever it declares; more is asked for.
    let start =
      application.flatMap { $0.held(.cpu) }.map { next.quota(ofCores: $0) }
      ?? next.bounds(hasAlarm: attachment.hearsUse).clamp(next.quota(of: next.declared))
    let applied = next.limit(of: start)
    let isUnlimited = next.declared.quota == nil && applied == next.limit(of: next.initial())
    return attachment.writer.isReadOnly || isUnlimited ? next.declared : applied
  }

  /// Whether the kernel's limit is the low-level runtime's to write at this moment.
  var isRuntimeWriting: Bool {
    guard base.inner == nil, let updating, updating.owner != nil, updating.update.cpu != nil
    else { return false }
    return monotonicNow() - updating.start < OpenUpdate.patienceWithRuntime
  }

  /// Takes note of a write by another process while an update is on its way.
  ///
  /// - Returns: Whether it is left alone: it belongs to the update, or is taken back at its end.
  func belongsToUpdate(_ found: CPUQuota) -> Bool {
    guard base.inner == nil, let open = updating, open.update.cpu != nil else { return false }
    if found == open.update.applied {
      updating?.isShown = true
      foreign.wrote(found)
    } else if found != foreign.ours {
      updating?.isShown = false
    }
    return true
  }

  /// The shim has hung up without a word: it was killed, and the low-level runtime with it.
  func loseShim(_ token: UInt64) {
    guard updating?.owner == token else { return }
    updating?.owner = nil
    updating?.deadline = monotonicNow() + OpenUpdate.patienceWithRuntime
  }

  /// Ends the update that is on its way.
  func settleUpdate(isTaken: Bool) {
    hearWriters()
    guard let update = updating?.update else { return }
    // What the runtime wrote again after it had failed is nobody's wish.
    note(memory?.endUpdate() ?? [])
    updating = nil
    if isTaken {
      var entries: [RecordEntry] = []
      if let memory, update.memory != nil || update.swap != nil {
        entries = memory.update(limit: update.memory, swap: update.swap)
        memory.isBaseChanged = false
      }
      if let cpu = update.cpu {
        base.told = update.applied
        // The shim has compared it with the groups above: their limits may be larger by now.
        if attachment.writer.version == .v1, let beyond = base.above.beyond {
          base.above.beyond = max(beyond, cpu.nanocores ?? beyond)
        }
        rebase(to: cpu, rule: .update, settling: update)
        foreign.declared(cpu, told: update.applied ?? cpu)
      } else {
        saveBase(settling: update)
      }
      note(entries)
    } else if update != PendingUpdate() {
      saveBase()
    }
    if update.cpu != nil {
      bringIntoForce(isTaken ? update.applied : nil)
      if isTaken { joinAgain() }
    }
  }

  /// Makes what is ours the kernel's limit again, behind an update.
  ///
  /// - Parameter applied: What the low-level runtime wrote; nil where it refused.
  private func bringIntoForce(_ applied: CPUQuota?) {
    heard = HeardWriters()
    nextCorrection = nil
    guard let found = try? attachment.writer.current(besides: foreign.ours) else {
      return checkMembers()
    }
    if found == applied || attachment.writer.isReadOnly {
      try? attachment.writer.align(to: found)
      foreign.wrote(found)
      settleParent()
      if applied != nil { adopt(quota: base.quota(of: found), bounds: controller.bounds) }
    } else {
      let ours = applied == nil ? foreign.ours : base.limit(of: controller.quota)
      if found != ours, (try? setLimit(ours, from: found)) != nil { hearWriters() }
      foreign.wrote(ours)
    }
    // The application may have granted something else meanwhile.
    if application != nil { writeHeldAgain(.granted) }
  }
}
