// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import OCISpec
internal import Quantities
internal import State

/// Whether an update changes memory, or would by what the low-level runtime knows of it.
func isOfMemory(_ request: UpdateRequest, _ instance: borrowing StateDirectory) -> Bool {
  request.memory != nil || instance.load()?.memory != nil
}

/// A memory limit above that of memory and swap together: the low-level runtime refuses it by the
/// limits that the container declares, where it would not by those that are in force.
func refusedSwap(
  _ request: UpdateRequest, _ instance: borrowing StateDirectory
) -> ConfigEdit? {
  let state = instance.load()
  guard request.memory != nil || request.swap != nil, state?.innerName == nil,
    let base = state?.memory,
    let memory = request.memory ?? base.declared,
    let swap = request.swap ?? base.declared.flatMap({ base.memorySwap(at: $0) }),
    swap > 0 && swap < memory
  else { return nil }
  return ConfigEdit(memoryLimit: memory, memorySwap: swap)
}

/// What the low-level runtime is to write of memory for an update that asks for less than the container
/// may have; nil where it writes what is asked for.
func mostMemory(
  _ request: UpdateRequest, _ state: ContainerState
) -> (limit: Int64?, swap: Int64?)? {
  guard request.memory != nil || request.swap != nil, let base = state.memory else { return nil }
  // Less than memory alone is for the runtime to refuse.
  let memory = request.memory ?? base.declared ?? 0
  if let swap = request.swap, swap > 0, swap < memory { return nil }
  return base.innerUpdate(limit: request.memory, swap: request.swap)
}

/// Has what is in force written where no supervisor lives, in the place of what the runtime knows.
func editUnsupervisedMemory(
  _ edit: inout ConfigEdit, _ request: UpdateRequest, _ state: ContainerState,
  held: Int64?, isShared: Bool, isReleased: Bool
) {
  if !isReleased, let most = mostMemory(request, state) {
    (edit.memoryLimit, edit.memorySwap) = most
    return
  }
  let asked = request.memory.map { $0 > 0 ? $0 : MemoryLimit.unlimited }
  let isUnnamed = request.memory == nil && request.swap == nil
  let isTooMuch = isShared && asked ?? 0 > held ?? 0
  // What it holds it may need, and the next supervisor lowers it.
  let isTooLittle =
    !isReleased && state.memory?.explicitCeiling != nil && asked ?? .max < held ?? 0
  if let held, isUnnamed || isTooMuch || isTooLittle {
    edit.memoryLimit = held < MemoryLimit.unlimited ? held : -1
    edit.memorySwap = held < MemoryLimit.unlimited ? state.memory?.requestedSwap(at: held) : nil
  }
}
