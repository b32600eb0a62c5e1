// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Quantities
internal import Syscalls

/// Notices the limits that other processes write, and judges them.
///
/// It is the loop's first component: what was written is known before anything is decided over it.
final class ExternalWritesComponent: Component {
  private let container: SupervisedContainer
  private let watch: WriteWatch
  private var writers = ExternalWriters()
  /// Beside a write of ours another process's was noticed, or may have been.
  private var hasOverheard = false
  private(set) var deadline: Nanoseconds?

  /// Takes over the watch.
  init(
    _ container: SupervisedContainer, _ handover: ReexecState, _ poller: consuming Poller
  ) throws(SystemError) {
    self.container = container
    watch = WriteWatch(adopting: handover.take(.watch), namesWriters: handover.namesWriters)
    container.noticesWrites = watch.hears
    try watch.add(to: poller, token: 0)
  }

  func handle(_ event: LoopEvent) -> [Effect] {
    switch event {
    case .readable:
      let (hasWrites, questions) = hear()
      return hasWrites
        ? questions + judge() + [.lookAbove, .lookAtMemory(isRoutine: false)] : questions
    case .deadline: return judge()
    case .effect(let effect): return handle(effect)
    // Systemd and runtimes write several files of two groups.
    case .settled: return container.base.inner == nil ? [] : judgeOverheard()
    case .began, .ended: return []
    }
  }

  private func handle(_ effect: Effect) -> [Effect] {
    switch effect {
    case .wrote:
      guard watch.hears else {
        hasOverheard = true
        return []
      }
      let (hasWrites, questions) = hear()
      hasOverheard = hasOverheard || hasWrites
      return questions
    case .drainWrites: return hear().questions
    case .judgeWrites: return judge()
    case .judgeOverheard: return judgeOverheard()
    case .message(.named(let process, let name), _):
      writers.answer(process, name)
      return judge()
    case .bringIntoForce: forget()
    default: break
    }
    return []
  }

  /// Takes what the watch tells.
  ///
  /// - Returns: Whether there was a write, and what the keeper is to be asked about its writers.
  private func hear() -> (hasWrites: Bool, questions: [Effect]) {
    var questions: [Effect] = []
    let hasWrites = watch.take { process in
      if writers.add(process, at: monotonicNow()) {
        questions.append(.tellKeeper(.whoIs(process)))
      }
    }
    return (hasWrites, questions)
  }

  private func judgeOverheard() -> [Effect] {
    guard hasOverheard else { return [] }
    hasOverheard = false
    return judge()
  }

  /// Forgets the writers: what they wrote is answered.
  private func forget() {
    writers = ExternalWriters()
    deadline = nil
  }

  private func judge() -> [Effect] {
    let limits = container.limits
    let (declared, isRaised) = limits.takeInner()
    if isRaised { container.save() }
    if let declared {
      defer { forget() }
      return [.declared(DeclaredLimit(limit: declared, source: .inner, writer: writers.last))]
    }
    guard let found = limits.current else { return [.checkMembers] }
    if container.belongsToUpdate(found) { return [] }
    let now = monotonicNow()
    if let moment = writers.asked?.until, moment > now, container.hasKeeper, found != limits.ours {
      // What a write means depends on its writer.
      deadline = moment
      return []
    }
    switch limits.external.judge(found, by: writers.kinds, at: now) {
    case .ours:
      forget()
      return []
    case .overwritten(let moment) where moment > now:
      deadline = moment
      return []
    case .overwritten:
      deadline = nil
      if limits.isReadOnly { return [] }
      limits.external.corrected(at: now)
      defer { forget() }
      return [.overwritten(found, writer: writers.last)]
    case .declared:
      if writers.kinds.contains(.runtime) { limits.base.told = found }
      limits.external.learned(found, from: writers.kinds)
      defer { forget() }
      return [.declared(DeclaredLimit(limit: found, source: .external, writer: writers.last))]
    }
  }
}
