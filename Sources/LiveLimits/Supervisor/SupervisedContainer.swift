// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The container of a supervisor: its files, its limits and its record, which all components share.
final class SupervisedContainer: MemoryOwner, UpdateOwner {
  let directory: StateDirectory
  let handles: ContainerHandles
  let limits: CPULimitApplier
  /// Its memory; nil if that is not moved.
  let memory: MemorySupervisor?
  /// The record and the counters.
  let log: SupervisorLog
  /// The update that is on its way.
  var openUpdate: OpenUpdate?
  /// Whether its limits are an application's to grant.
  var isMember = false
  /// Whether the keeper is connected.
  var hasKeeper = false
  /// Whether a write of a limit by another process is noticed.
  var noticesWrites = false

  var base: CPUBase {
    get { limits.base }
    set { limits.base = newValue }
  }

  /// Takes over an attached container.
  init(directory: consuming StateDirectory, _ handover: ReexecState) throws(SystemError) {
    handles = ContainerHandles(handover, nonce: directory.nonce)
    log = try SupervisorLog(directory.descriptor)
    memory = try MemorySupervisor(handover, handles.parent.memory)
    limits = CPULimitApplier(handover, handles)
    self.directory = directory
  }

  /// Writes what has changed into the container's state.
  ///
  /// - Parameter update: An update that the low-level runtime has taken.
  func save(settling update: PendingUpdate? = nil) {
    guard var state = directory.load() else { return }
    if let update { state.redeclare(memory: update.memory, swap: update.swap) }
    state.update = openUpdate?.update
    state.base = base
    if let memory = memory?.base { state.memory = memory }
    // A full /run/escra: the supervisor goes on with what it knows.
    try? directory.save(state)
  }

  func saveMemory() { save() }

  func note(_ update: PendingUpdate) throws(SystemError) { try directory.note(update) }

  /// Appends a change of the CPU limit to the record.
  func record(
    _ rule: Rule, before: Nanoseconds, after: Nanoseconds, use: Nanoseconds = 0,
    writer: RecordEntry.Writer? = nil
  ) {
    log.lastQuota = after
    log.append(
      RecordEntry(
        time: wallClockNow(), rule: rule, applied: !limits.isReadOnly, before: before,
        after: after, use: use, period: base.period, writer: writer))
  }

  // MARK: an update that is on its way to a container with one group

  /// Whether the kernel's limit is the low-level runtime's to write at this moment.
  var isRuntimeWriting: Bool {
    guard base.inner == nil, let openUpdate, openUpdate.owner != nil, openUpdate.update.cpu != nil
    else { return false }
    return monotonicNow() - openUpdate.start < OpenUpdate.patienceWithRuntime
  }

  /// Takes note of a write by another process while an update is on its way.
  ///
  /// - Returns: Whether it is left alone: it belongs to the update, or is taken back at its end.
  func belongsToUpdate(_ found: CFSBandwidth) -> Bool {
    guard base.inner == nil, let open = openUpdate, open.update.cpu != nil else { return false }
    if found == open.update.applied {
      openUpdate?.isShown = true
      limits.external.wrote(found)
    } else if found != limits.ours {
      openUpdate?.isShown = false
    }
    return true
  }
}

/// The record of a supervisor's decisions, and its counters.
final class SupervisorLog {
  private var record: Record
  private var file: CounterFile
  /// What the entries of the record say.
  private(set) var counters = CPUController.Counters()
  /// The CPU limit in the last entry, in nanoseconds of CPU time a period.
  var lastQuota: Nanoseconds = 0

  /// Opens both.
  ///
  /// - Parameter directory: The instance's.
  /// - Throws: ``SystemError``.
  init(_ directory: borrowing FileDescriptor) throws(SystemError) {
    record = try Record(in: directory)
    file = try CounterFile(in: directory)
  }

  /// Goes on in another directory.
  func reopen(_ directory: borrowing FileDescriptor) throws(SystemError) {
    record = try Record(in: directory)
    file = try CounterFile(in: directory)
  }

  /// Appends an entry, and counts it.
  func append(_ entry: RecordEntry) {
    record.append(entry)
    counters.count(entry)
  }

  /// All that has been counted.
  ///
  /// - Parameter law: What the CPU law has counted.
  /// - Returns: The sum.
  func total(with law: CPUController.Counters) -> CPUController.Counters {
    var total = counters
    total.add(law)
    return total
  }

  /// Writes the counters, if they have changed.
  func save(with law: CPUController.Counters = .init()) { file.note(total(with: law)) }
}
