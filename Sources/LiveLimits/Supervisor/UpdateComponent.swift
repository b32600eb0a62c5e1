// SPDX-License-Identifier: Apache-2.0
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
  /// When the kernel's limit decides, if no shim will say how the runtime ended.
  var deadline: Nanoseconds?
  /// Whether the last external write was ``PendingUpdate/applied``.
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

/// What the components of an update share with the others of the container.
protocol UpdateOwner: AnyObject {
  /// The update that is on its way.
  var openUpdate: OpenUpdate? { get set }
  /// The container's memory; nil if that is not moved.
  var memory: MemorySupervisor? { get }

  /// Writes down that an update is on its way.
  func note(_ update: PendingUpdate) throws(SystemError)
}

extension UpdateOwner {
  /// Whether a connection may end the open update: the note of a supervisor that died has none.
  func mayEndUpdate(_ token: UInt64) -> Bool {
    guard let owner = openUpdate?.owner else { return true }
    return owner == token
  }

  /// Takes limits of memory into an update.
  ///
  /// - Returns: What the low-level runtime is to write.
  func add(memory limit: Int64?, swap: Int64?, to open: inout OpenUpdate) -> ControlMessage {
    open.update.add(memory: limit, swap: swap)
    guard let memory else { return .applyMemory(limit: nil, swap: nil) }
    let applied = memory.applied(limit: limit, swap: swap)
    return .applyMemory(limit: applied.limit, swap: applied.swap)
  }

  /// Notes an update, and has the shim call the low-level runtime.
  func begin(_ open: OpenUpdate, _ answer: ControlMessage, to token: UInt64) -> [Effect] {
    do throws(SystemError) { try note(open.update) } catch {
      return [.answer(.notNoted(errno: error.errno), to: token)]
    }
    openUpdate = open
    memory?.isUpdating = true
    return [.answer(answer, to: token)]
  }
}

/// An update, which is one transaction.
///
/// The supervisor notes it, the shim calls the low-level runtime and says how that ended; then the
/// update becomes the base, or is dropped.
final class UpdateComponent: Component {
  private let container: SupervisedContainer

  /// Takes over an update that was on its way when the supervisor before this one died.
  init(_ container: SupervisedContainer, _ handover: ReexecState) {
    self.container = container
    guard let update = handover.update else { return }
    let now = monotonicNow()
    container.openUpdate = OpenUpdate(
      update: update, start: now, deadline: now + OpenUpdate.patienceWithShim)
    _ = container.belongsToUpdate(handover.found)
  }

  var deadline: Nanoseconds? { container.openUpdate?.deadline }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .deadline: return end(isTaken: container.openUpdate?.isShown ?? false)
    case .effect(.message(let message, let token)): return hear(message, from: token)
    case .effect(.disconnected(let token)): loseShim(token)
    case .effect(.endUpdate(let isTaken)): return settle(isTaken: isTaken)
    default: break
    }
    return []
  }

  private func hear(_ message: ControlMessage, from token: UInt64) -> [Effect] {
    switch message {
    case .updateEnded(let isTaken):
      let effects = container.mayEndUpdate(token) ? end(isTaken: isTaken) : []
      return effects + [.answer(.updateSettled, to: token)]
    case .update, .updateMemory: return open(message, from: token)
    default: return []
    }
  }

  private func open(_ message: ControlMessage, from token: UInt64) -> [Effect] {
    let now = monotonicNow()
    if let open = container.openUpdate, open.owner == nil,
      case .update(let quota, let period) = message,
      container.base.declared.redeclared(quota: quota, period: period) == open.update.cpu
    {
      // Its shim has lost a supervisor before it called the runtime, and begins again.
      container.openUpdate = nil
    }
    if let open = container.openUpdate, open.owner != token {
      if open.excludes(token, at: now) { return [.answer(.updating, to: token)] }
      // The message is heard again behind the end of the other update.
      return end(isTaken: open.isShown) + [.message(message, from: token)]
    }
    var open = container.openUpdate ?? OpenUpdate(owner: token, start: now)
    let answer: ControlMessage
    switch message {
    case .update(let quota, let period):
      var next = container.base
      next.declared = next.declared.redeclared(quota: quota, period: period)
      // The kernel will refuse it, and the low-level runtime will say so.
      guard next.declared.isAcceptable else {
        return [.answer(.apply(next.declared), to: token)]
      }
      // The container's own group gets what is asked for.
      let applied = next.inner == nil ? applied(for: next) : next.declared
      open.update.cpu = next.declared
      open.update.applied = applied
      answer = .apply(applied)
    case .updateMemory(let limit, let swap):
      answer = container.add(memory: limit, swap: swap, to: &open)
    default: return []
    }
    let effects = container.begin(open, answer, to: token)
    if container.base.inner == nil, let applied = container.openUpdate?.update.applied {
      container.limits.expectParent(applied)
    }
    return effects
  }

  /// What the low-level runtime is told to write, so that it takes back nothing that was given.
  private func applied(for next: CPUBase) -> CFSBandwidth {
    // A member has what it was granted, whatever it declares; more is asked for.
    let start =
      container.limits.granted.map { next.quota(ofCores: $0) }
      ?? next.bounds(hasAlarm: container.handles.hearsUse).clamp(next.quota(of: next.declared))
    let applied = next.limit(of: start)
    let isUnlimited = next.declared.quota == nil && applied == next.limit(of: next.initial())
    return container.limits.isReadOnly || isUnlimited ? next.declared : applied
  }

  /// The shim has hung up without a word: it was killed, and the low-level runtime with it.
  private func loseShim(_ token: UInt64) {
    guard container.openUpdate?.owner == token else { return }
    container.openUpdate?.owner = nil
    container.openUpdate?.deadline = monotonicNow() + OpenUpdate.patienceWithRuntime
  }

  /// What the runtime has written is its own: it is not judged.
  private func end(isTaken: Bool) -> [Effect] {
    container.openUpdate == nil
      ? [.drainWrites] : [.drainWrites, .endMemoryUpdate, .endUpdate(isTaken: isTaken)]
  }

  /// Ends the update that is on its way.
  private func settle(isTaken: Bool) -> [Effect] {
    guard let update = container.openUpdate?.update else { return [] }
    let memory = container.memory
    var effects: [Effect] = []
    container.openUpdate = nil
    if isTaken {
      var entries: [RecordEntry] = []
      if let memory, update.memory != nil || update.swap != nil {
        entries = memory.update(limit: update.memory, swap: update.swap)
        memory.isBaseChanged = false
      }
      if let cpu = update.cpu {
        container.base.told = update.applied
        // The shim has compared it with the groups above: their limits may be larger by now.
        if let beyond = container.base.above.beyond,
          container.handles.writer.version.refusesLimitAboveParent
        {
          container.base.above.beyond = max(beyond, cpu.nanocores ?? beyond)
        }
        effects.append(.declared(DeclaredLimit(limit: cpu, source: .update(update))))
      } else {
        container.save(settling: update)
      }
      effects.append(.memoryMoved(entries))
    } else if update != PendingUpdate() {
      container.save()
    }
    guard update.cpu != nil else { return effects }
    effects.append(.bringIntoForce(isTaken ? update.applied : nil))
    return isTaken ? effects + [.rejoin] : effects
  }
}
