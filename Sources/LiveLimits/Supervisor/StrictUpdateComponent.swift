// SPDX-License-Identifier: Apache-2.0
internal import State
internal import Syscalls

/// Updates of a strict container's memory: those of its CPUs are the registry's.
final class StrictUpdateComponent: Component {
  private let shared: StrictState

  init(_ shared: StrictState) { self.shared = shared }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .effect(.message(let message, let token)): return hear(message, from: token)
    // Killed without a word: its update is dropped.
    case .effect(.disconnected(let token)):
      return shared.openUpdate?.owner == token ? end(isTaken: false) : []
    case .effect(.endUpdate(let isTaken)): return settle(isTaken: isTaken)
    default: return []
    }
  }

  private func hear(_ message: ControlMessage, from token: UInt64) -> [Effect] {
    switch message {
    case .updateMemory(let limit, let swap):
      let now = monotonicNow()
      if let open = shared.openUpdate, open.excludes(token, at: now) {
        return [.answer(.updating, to: token)]
      }
      var open = OpenUpdate(owner: token, start: now)
      let answer = shared.add(memory: limit, swap: swap, to: &open)
      return shared.begin(open, answer, to: token)
    case .updateEnded(let isTaken):
      let effects = shared.mayEndUpdate(token) ? end(isTaken: isTaken) : []
      return effects + [.answer(.updateSettled, to: token)]
    default: return []
    }
  }

  private func end(isTaken: Bool) -> [Effect] { [.endMemoryUpdate, .endUpdate(isTaken: isTaken)] }

  /// Ends the update of memory that is on its way.
  private func settle(isTaken: Bool) -> [Effect] {
    guard let update = shared.openUpdate?.update ?? shared.state.update else { return [] }
    shared.openUpdate = nil
    let entries =
      isTaken ? shared.memory?.update(limit: update.memory, swap: update.swap) ?? [] : []
    let base = shared.memory?.base
    // A full /run/escra: the note of the update stays, and the next supervisor settles it.
    try? shared.change { state in
      state.update = update
      state.settleUpdate(isTaken: isTaken)
      if let base { state.memory = base }
    }
    return [.memoryMoved(entries)]
  }
}
