// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Hooks
internal import Quantities
internal import State
internal import Syscalls

/// One concern of a supervisor.
///
/// A component owns its descriptors and its deadline. It handles events and returns effects, which
/// the loop hands to every component. So a new component edits no other.
protocol Component: AnyObject {
  /// When the loop sends ``LoopEvent/deadline(_:)``; nil while only descriptors wake the component.
  var deadline: Nanoseconds? { get }
  /// Whether its work leaves used stack pages behind, which an idle supervisor returns.
  var usesDeepStack: Bool { get }

  /// Handles an event.
  ///
  /// - Parameter event: The event.
  /// - Returns: What the other components are to know or to do, in this order.
  /// - Throws: ``SystemError``; the supervisor ends then.
  func handle(_ event: LoopEvent) throws(SystemError) -> [Effect]
}

extension Component {
  var deadline: Nanoseconds? { nil }
  var usesDeepStack: Bool { true }
}

/// What the loop tells a component.
enum LoopEvent {
  /// The loop begins.
  case began
  /// A descriptor of the component's is readable; the token that the component gave it.
  case readable(UInt64)
  /// Its deadline has passed; the time.
  case deadline(Nanoseconds)
  /// A component, perhaps this one, has returned this effect.
  case effect(Effect)
  /// All events of one wake-up are handled.
  case settled
  /// The loop has ended.
  case ended
}

/// What a component has done, or wants done, as a value.
enum Effect {
  // MARK: lifetime
  /// A file of the container's group cannot be read: the container may have ended.
  case checkMembers
  /// The container's init has ended; its group may follow.
  case initEnded
  /// The container has ended: the loop ends.
  case end

  // MARK: limits of other processes' making
  /// A limit was written: the notification of that write is ours.
  case wrote
  /// As ``wrote``; what another process wrote in the same moment is judged later.
  case drainWrites
  /// Another process may have written a limit unnoticed.
  case judgeWrites
  /// What was written beside a write of ours is to be judged.
  case judgeOverheard
  /// Another process has written an old value over the CPU limit.
  case overwritten(CFSBandwidth, writer: RecordEntry.Writer?)
  /// The container declares another CPU limit.
  case declared(DeclaredLimit)
  /// A limit right above the container's group may have changed.
  case lookAbove

  // MARK: CPU
  /// Look at the use of CPU time.
  case lookAtCPU(CPULook)
  /// The use of CPU time was read, at this time.
  case usedCPU(Nanoseconds, at: Nanoseconds)
  /// The use is read at this time unless something happens before.
  case willLookAtCPU(Nanoseconds)
  /// Look at the use at this time at the latest.
  case lookAtCPUBy(Nanoseconds)
  /// The CPU limit may move between other bounds.
  case cpuBoundsChanged
  /// Look whether another process has changed the limit of the pod.
  case lookAtParent

  // MARK: memory
  /// Look at the use of memory; whether another process's write would have been noticed.
  case lookAtMemory(isRoutine: Bool)
  /// The low-level runtime has ended an update.
  case endMemoryUpdate
  /// Memory limits have been moved elsewhere: record that.
  case memoryMoved([RecordEntry])

  // MARK: application
  /// Ask the application for this limit.
  case want(Int64, of: SharedResource, inUse: Int64? = nil)
  /// A larger limit that was asked for is not needed any more.
  case wantNoMore(SharedResource)
  /// The kernel's limit is another one than the application granted.
  case found(Int64, of: SharedResource)
  /// The container declares something else than the application knows.
  case redeclare(SharedResource, MemberRecord.Share)
  /// Join the application again, with what the container declares now.
  case rejoin

  // MARK: exclusive CPUs
  /// Make the tree of CPU sets what it has to be.
  case settleCPUs

  // MARK: control socket
  /// The instance was made again: listen on this descriptor.
  case listen(Int32)
  /// A message has come.
  case message(ControlMessage, from: UInt64)
  /// Answer a message.
  case answer(ControlMessage, to: UInt64)
  /// Tell the keeper, if it is connected.
  case tellKeeper(ControlMessage)
  /// A connection has been closed by its peer.
  case disconnected(UInt64)
  /// The open update ends.
  case endUpdate(isTaken: Bool)
  /// Make our limit the kernel's again behind an update; what the low-level runtime wrote, nil if it
  /// refused.
  case bringIntoForce(CFSBandwidth?)
}

/// Why to look at the use of CPU time.
enum CPULook {
  /// It is time to, or the container woke up.
  case reading(isCalled: Bool)
  /// The hooks in the scheduler have seen this.
  case event(SchedulerEvent)
}

/// A CPU limit that the container declares from now on.
struct DeclaredLimit {
  /// Where it comes from.
  enum Source {
    /// Another process has written the group whose limit moves.
    case external
    /// Another process has written the container's own group, around which the limit moves.
    case inner
    /// An update that the low-level runtime has taken.
    case update(PendingUpdate)
  }

  /// The limit.
  let limit: CFSBandwidth
  let source: Source
  /// The process that has written it, if it is known.
  var writer: RecordEntry.Writer?
}
