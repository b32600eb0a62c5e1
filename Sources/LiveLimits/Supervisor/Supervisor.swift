// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

/// A supervisor of a container whose limits follow demand: the loop, and the components that it
/// needs.
final class Supervisor {
  private let container: SupervisedContainer
  private let loop: EventLoop
  private let history: HistoryComponent?

  /// Takes over an attached container.
  init(directory: consuming StateDirectory, _ handover: ReexecState) throws(SystemError) {
    let container = try SupervisedContainer(directory: directory, handover)
    let loop = try EventLoop()
    self.container = container
    self.loop = loop
    _ = try loop.add { poller throws(SystemError) in
      try ExternalWritesComponent(container, handover, poller)
    }
    _ = try loop.add { poller throws(SystemError) in
      try LifetimeComponent(container.handles, poller)
    }
    loop.add(UpdateComponent(container, handover))
    let cpu = try loop.add { poller throws(SystemError) in
      try CPUComponent(container, handover, poller)
    }
    if let memory = container.memory {
      _ = try loop.add { poller throws(SystemError) in
        try MemoryComponent(container, memory, poller)
      }
    }
    history = HistoryComponent(container, cpu, handover)
    if let history { loop.add(history) }
    loop.add(ParentComponent(container))
    if let priority = handover.priority {
      _ = try loop.add { poller in
        ApplicationComponent(container, cpu, priority: priority, poller)
      }
    }
    _ = try loop.add { poller throws(SystemError) in
      try ControlSocketComponent(handover.take(.listener), poller) { [unowned container] in
        container.hasKeeper = $0
      }
    }
  }

  /// How long the keeper may take to read a container's id, in milliseconds.
  private static let keeperTime: Int32 = 50

  /// Supervises until the container has ended, then leaves.
  func run() throws(SystemError) {
    try loop.run()
    // The keeper reads the container's id there.
    if history?.hasLostItsEnd ?? false { poll(nil, 0, Self.keeperTime) }
    // The directory itself is out of reach, and the keeper's to remove.
    container.directory.remove()
    _ = flock(container.directory.descriptor.number, LOCK_UN)
  }
}
