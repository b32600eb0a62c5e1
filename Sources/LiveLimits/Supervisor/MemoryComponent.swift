// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Control
internal import Quantities
internal import State
internal import Syscalls

/// What shares the container's state with a ``MemoryComponent``.
protocol MemoryOwner: AnyObject {
  /// The record.
  var log: SupervisorLog { get }
  /// Whether its limits are an application's to grant.
  var isMember: Bool { get }
  /// Whether a write of a limit by another process is noticed.
  var noticesWrites: Bool { get }
  /// Writes what the memory may have into the container's state.
  func saveMemory()
}

/// The memory of a container in its supervisor's loop.
final class MemoryComponent: Component {
  private let owner: any MemoryOwner
  private let memory: MemorySupervisor

  init(
    _ owner: any MemoryOwner, _ memory: MemorySupervisor, _ poller: consuming Poller
  ) throws(SystemError) {
    self.owner = owner
    self.memory = memory
    try memory.add(to: poller)
  }

  var deadline: Nanoseconds? { memory.deadline }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .began:
      owner.log.append(memory.opening())
      if let entry = memory.startWithPrediction() { owner.log.append(entry) }
    case .readable(let token): return note(memory.hear(token))
    case .deadline: return note(memory.look(isRoutine: owner.noticesWrites))
    case .effect(.lookAtMemory(let isRoutine)): return note(memory.look(isRoutine: isRoutine))
    case .effect(.endMemoryUpdate): return note(memory.endUpdate())
    case .effect(.memoryMoved(let entries)): return note(entries)
    default: break
    }
    return []
  }

  private func note(_ entries: [RecordEntry]) -> [Effect] {
    for entry in entries { owner.log.append(entry) }
    if memory.isBaseChanged {
      memory.isBaseChanged = false
      owner.saveMemory()
    }
    return owner.isMember ? ask() : []
  }

  /// What the memory needs is asked for, and what it does not need any more is not.
  private func ask() -> [Effect] {
    if memory.isRedeclared {
      memory.isRedeclared = false
      let share = memory.share
      return [.found(share.held, of: .memory), .redeclare(.memory, share)]
    }
    if let wish = memory.wish { return [.want(wish.limit, of: .memory, inUse: wish.use)] }
    return [.wantNoMore(.memory)]
  }
}
