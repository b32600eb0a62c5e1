// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The one place that applies a container's memory limit, as ``CPULimitApplier`` applies its CPU
/// limit: the law, the application, an update and the correction of another process's write ask it.
///
/// It knows the order (the pod is raised before the container and lowered behind it, the swap limit
/// and memory.high as ``MemoryWriter`` says), and what was written last.
final class MemoryLimitApplier {
  /// What is declared, and what may be given.
  var base: MemoryBase {
    didSet { writer.application = base.application }
  }
  /// What other processes write, judged.
  var external: WriteJudge
  /// What the kernel should hold: what was written last, or was found.
  private(set) var ours: Int64
  /// The same of memory.high.
  private var ourHigh: Int64
  /// The limit of the group that it is in with others, where that rises with its own.
  private var parent: ParentLimit?
  private var writer: MemoryWriter
  /// The limit of the group right above the container's own; ``FileDescriptor/none`` where it is
  /// not watched.
  private let above: FileDescriptor

  /// Takes over what ``FoundMemory`` has opened.
  ///
  /// - Throws: ``SystemError``; ENODEV when the group is gone.
  init(
    _ base: MemoryBase, isObserver: Bool, _ parent: ParentLimit?,
    _ take: (ReexecState.Place) -> FileDescriptor
  ) throws(SystemError) {
    self.base = base
    self.parent = parent
    external = WriteJudge(isOurGroup: base.inner != nil)
    writer = MemoryWriter(
      limit: take(.memoryLimit), swap: take(.memorySwap), line: take(.memoryLine),
      other: take(.memoryOther), inner: take(.innerMemory),
      innerSwap: take(.innerSwap), readOnly: isObserver, isLine: base.isLine)
    writer.application = base.application
    above = take(.aboveMemory)
    // What another process has written since is to be judged.
    ours = if let found = base.found { found } else { try writer.current() }
    ourHigh = try writer.line()
    // The supervisor before this one may have raised the one and not come to the other.
    alignSwap()
    settleParent()
  }

  /// Whether limits are only observed.
  var isReadOnly: Bool { writer.isReadOnly }
  /// The interface.
  var version: CgroupVersion { writer.version }
  /// What the limit may move between.
  var bounds: MemoryBounds { base.bounds }

  /// The limit that the kernel has now; nil once the group is gone.
  var current: Int64? { try? writer.current() }

  /// Makes a decision the container's limit.
  ///
  /// - Parameters:
  ///   - decision: The decision.
  ///   - controller: What has decided; takes note of a limit that is not available.
  ///   - before: The limit that was in force.
  ///   - surroundings: Say what of the use is page cache at this moment.
  ///   - use: Says what is charged at this moment, in bytes; nil if that cannot be read.
  /// - Returns: Whether the limit is as it was decided.
  func apply(
    _ decision: MemoryController.Decision, of controller: inout MemoryController,
    from before: Int64, surroundings: some MemoryController.Environment, use: () -> Int64?
  ) -> Bool {
    if decision.limit == before || isReadOnly { return true }
    guard raiseParent(for: decision.limit, &controller) else {
      controller.refuse(found: before, wasLowering: false)
      return false
    }
    let change = writer.carryOut(
      decision, of: &controller, from: before, swap: base.memorySwap(at: decision.limit),
      surroundings: surroundings, use: use)
    (ours, ourHigh) = (change.limit, change.line)
    parent?.lower(to: base.excess(of: ours))
    return change.isTaken
  }

  /// Takes a limit that another process has written as it is.
  func accept(_ found: Int64) { ours = found }

  /// What has become of memory.high.
  enum HighChange {
    /// It is where it shall be; or it is written now, after the limit has moved.
    case none
    /// Another process has moved it, and it is written again at this time.
    case postponed(Nanoseconds)
    /// Another process had moved it there.
    case corrected(Int64)
  }

  /// Brings memory.high to where it shall be under the limit in force.
  func setHigh(_ wanted: Int64, at now: Nanoseconds) -> HighChange {
    // ENODEV: the group is gone.
    guard version.hasMemoryHigh, !isReadOnly, !writer.isLine, let found = try? writer.line(),
      found != wanted
    else { return .none }
    let isForeign = found != ourHigh
    if isForeign, now < external.next { return .postponed(external.next) }
    // As above.
    guard (try? writer.set(line: wanted)) != nil else { return .none }
    ourHigh = wanted
    guard isForeign else { return .none }
    external.corrected(at: now)
    return .corrected(found)
  }

  /// Makes memory and swap together what they shall be under the limit in force.
  func alignSwap() { writer.alignSwap(to: base.memorySwap(at: ours)) }

  // MARK: the container's own group

  /// Takes the limit of the container's own group, where another process has written it, as the one
  /// that is declared.
  ///
  /// - Returns: Whether another one is declared.
  func takeInner() -> Bool {
    // ENODEV: the group is gone.
    guard let found = (try? writer.inner()) ?? nil else { return false }
    let known = base
    return base.takeInner(found) { limit throws(SystemError) in
      try writer.raiseInner(to: limit, swap: known.memorySwap(at: limit))
    }
  }

  /// Raises the limit of the container's own group to its application's, if that has grown.
  func raiseInner(to application: Int64) {
    guard base.application != nil else { return }
    base.application = application
    _ = takeInner()
  }

  // MARK: the groups above

  /// Gives the pod what the container's limit takes, whatever wrote that.
  func settleParent() { parent?.hold(base.excess(of: ours)) }

  /// Looks whether another process has changed the pod's limit.
  ///
  /// - Returns: Whether the container's bounds follow.
  func lookAtParent() -> Bool {
    parent?.look(at: monotonicNow(), holding: base.excess(of: ours))
    return base.above.follow(parent)
  }

  private func raiseParent(for limit: Int64, _ controller: inout MemoryController) -> Bool {
    guard let parent else { return true }
    do throws(SystemError) {
      try parent.raise(to: base.excess(of: limit))
      return true
    } catch {
      if error.errno == EAGAIN || error.errno == ENODEV { return false }
      // What that group has is the most from now on, as where no process may change it.
      base.above.giveUpRaising(at: max(ours, parent.amount ?? ours))
      settleParent()
      self.parent = nil
      controller.adopt(limit: ours, bounds: bounds)
      return false
    }
  }

  /// Reads the limit of the group right above the container's.
  ///
  /// - Returns: Whether it is another one.
  func readAbove() -> Bool {
    guard above.isOpen, let text = above.contentsIfReadable(),
      let read = MemoryWriter.limit(text)
    else { return false }
    let limit = read < MemoryLimit.unlimited ? read : nil
    guard limit != base.above.limit else { return false }
    base.above.limit = limit
    return true
  }
}
