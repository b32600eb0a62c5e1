// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// A supervisor of a strict container: keeps all others off its CPUs.
///
/// It is the same loop as ``Supervisor``, with other components.
final class StrictSupervisor {
  private let shared: StrictState
  private let loop: EventLoop
  private let fence: CPUFence

  /// Takes over a container that was found.
  init(
    directory: consuming StateDirectory, fence: CPUFence, container: StrictContainer,
    listener: consuming FileDescriptor
  ) throws(SystemError) {
    let shared = try StrictState(directory, fence.root, container.state, container.memory)
    let loop = try EventLoop()
    self.shared = shared
    self.loop = loop
    self.fence = fence
    if let outer = container.outer {
      _ = try loop.add { poller throws(SystemError) in try StrictOuterComponent(outer, poller) }
    }
    _ = try loop.add { poller throws(SystemError) in try LifetimeComponent(container, poller) }
    loop.add(StrictUpdateComponent(shared))
    _ = try loop.add { poller throws(SystemError) in
      try StrictCPUComponent(shared, container, fence, poller)
    }
    if let memory = container.memory {
      memory.isAlone = true
      _ = try loop.add { poller throws(SystemError) in
        try MemoryComponent(shared, memory, poller)
      }
    }
    let socket = listener.release()
    _ = try loop.add { poller throws(SystemError) in
      try ControlSocketComponent(FileDescriptor(owning: socket), poller)
    }
  }

  /// Supervises until the container has ended, then lets the others back.
  func run() throws(SystemError) {
    try loop.run()
    try fence.release(shared.directory)
  }
}

/// What the components of a strict container's supervisor share.
final class StrictState: MemoryOwner, UpdateOwner {
  private(set) var directory: StateDirectory
  var state: ContainerState
  let log: SupervisorLog
  let memory: MemorySupervisor?
  /// An update of memory that is on its way.
  var openUpdate: OpenUpdate?
  /// A listening socket of an instance that was made again, which the loop does not know yet.
  private var newListener: Int32?
  private let root: StateRoot

  let isMember = false
  /// The limits of a group that has no outer one are not watched.
  let noticesWrites = false

  init(
    _ directory: consuming StateDirectory, _ root: StateRoot, _ state: ContainerState,
    _ memory: MemorySupervisor?
  ) throws(SystemError) {
    (self.root, self.state, self.memory) = (root, state, memory)
    log = try SupervisorLog(directory.descriptor)
    self.directory = directory
  }

  /// Makes changes of the state under the registry's lock, as an update does.
  func change(
    _ body: (inout ContainerState) throws(SystemError) -> Void
  ) throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    try takeOverUpdate()
    try body(&state)
    try directory.save(state)
    _ = registry
  }

  func saveMemory() {
    // A full /run/escra: the next state that can be saved has it.
    try? change { _ in }
  }

  /// Notes an update of memory; the noted state is what ``settle`` goes on with.
  func note(_ update: PendingUpdate) throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    try takeOverUpdate()
    try directory.note(update)
    state.update = directory.load()?.update
    _ = registry
  }

  /// An update changes the state, under the registry's lock; a file that is torn is written again.
  func takeOverUpdate() throws(SystemError) {
    keepMemory()
    if !directory.isThere { try reinstate() }
    guard let written = directory.load(), written.claim != nil else {
      return try directory.save(state)
    }
    let before = heldTime
    let isChanged = written.claim?.held != state.claim?.held
    state = written
    keepMemory()
    if isChanged { append(rule: .update, before: before, after: heldTime) }
  }

  /// While a supervisor lives no other process changes what is known of the memory; it may not have
  /// been able to save that.
  private func keepMemory() {
    if let base = memory?.base { state.memory = base }
  }

  /// Writes the state under the registry's lock that the caller has.
  func save() throws(SystemError) { try directory.save(state) }

  /// Another process has removed our instance: the CPUs are held all the same, so it is made again.
  ///
  /// The connections of the old one are of no use any more; the next call of the runtime starts a
  /// keeper, which finds the new one.
  private func reinstate() throws(SystemError) {
    let instance = try StateDirectory.create(in: root, root: state.root, id: state.id)
    try instance.save(state)
    let listener = try ControlSocket.listen(
      on: StateDirectory.socketName, in: instance.descriptor)
    try log.reopen(instance.descriptor)
    directory = instance
    if let newListener { close(newListener) }
    newListener = listener.release()
  }

  /// What the loop has to know of an instance that was made again.
  func takeListener() -> [Effect] {
    defer { newListener = nil }
    return newListener.map { [.listen($0)] } ?? []
  }

  // MARK: the record

  /// The record counts in time a period, and a CPU of one's own is all of it.
  private static let period: Nanoseconds = 100_000_000

  static func time(of cpus: CPUSet) -> Nanoseconds { Nanoseconds(cpus.count) * period }

  var heldTime: Nanoseconds { Self.time(of: state.claim?.held ?? CPUSet()) }

  func append(rule: Rule, before: Nanoseconds, after: Nanoseconds) {
    log.append(
      RecordEntry(
        time: wallClockNow(), rule: rule, applied: true, before: before, after: after, use: 0,
        period: Self.period))
  }
}
