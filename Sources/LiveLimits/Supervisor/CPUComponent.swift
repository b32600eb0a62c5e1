// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Hooks
internal import Quantities
internal import State
internal import Syscalls

/// The CPU of a container: event, law, limit, record.
final class CPUComponent: Component, CPUController.Environment {
  let container: SupervisedContainer
  private(set) var controller: CPUController

  private let poller: Poller
  private let cpus: Int64
  private let law: ControlLaw.Parameters
  /// What earlier runs of the container needed at first, in nanocores; 0 if that is not known.
  private let predicted: Int64
  private var budget: LookBudget
  /// What waits for the budget: a look after the alarm's call, or at the hooks' events.
  private var waiting: (call: Bool, events: Bool) = (false, false)
  private var nextReading: Nanoseconds?
  /// Hooks that have not come yet.
  private var promise: HookPromise?

  /// What was asked of the application last: for the record, and to take it back.
  var asked: (rule: Rule, quota: Nanoseconds, use: Nanoseconds, time: Nanoseconds) = (
    .granted, 0, 0, 0
  )
  /// When more of what the application has granted may be written.
  var nextDue: Nanoseconds?

  var limits: CPULimitApplier { container.limits }
  private var handles: ContainerHandles { container.handles }

  private enum Token {
    static let alarm: UInt64 = 1
    static let events: UInt64 = 2
    static let promise: UInt64 = 3
  }

  /// Takes over an attached container.
  init(
    _ container: SupervisedContainer, _ handover: ReexecState, _ poller: consuming Poller
  ) throws(SystemError) {
    self.container = container
    let (base, handles) = (container.base, container.handles)
    let bounds = container.limits.bounds
    let held = base.quota(of: handover.found)
    cpus = handover.cpus
    law = handover.law
    predicted = handover.priority == nil ? handover.predicted : 0
    budget = LookBudget(period: base.period)
    controller = CPUController(
      Self.parameters(
        base, handles, cpus: handover.cpus, law: handover.law,
        isShared: handover.priority != nil),
      quota: min(held, max(bounds.ceiling, base.quota(of: base.declared))), bounds: bounds,
      now: monotonicNow(), usage: try handles.meter.read())
    if let events = handles.events {
      try poller.add(events.descriptor.number, token: Token.events)
    }
    if let alarm = handles.alarm {
      try poller.add(alarm.descriptor.number, token: Token.alarm)
    }
    let promised = handover.take(.promise)
    if promised.isOpen {
      try poller.add(promised.number, token: Token.promise)
      promise = HookPromise(socket: promised)
    }
    self.poller = poller
  }

  var deadline: Nanoseconds? {
    let next = min(nextReading ?? .max, nextDue ?? .max)
    return next == .max ? nil : next
  }

  func handle(_ event: LoopEvent) throws(SystemError) -> [Effect] {
    switch event {
    case .began: return begin()
    case .readable(let token): return try hear(token)
    case .deadline(let now):
      var effects: [Effect] = []
      let isDue = nextDue.map { $0 <= now } ?? false
      if let moment = nextReading, moment <= now { effects = try lookAgain() }
      if isDue { effects += writeHeldAgain(.due) }
      return effects
    case .effect(let effect): return handle(effect)
    case .settled:
      lookBy(limits.parentRetry)
      container.log.save(with: controller.counters)
    case .ended:
      limits.applyAtTheEnd(
        container.base.limit(of: min(controller.bounds.floor, controller.quota)))
    }
    return []
  }

  private func handle(_ effect: Effect) -> [Effect] {
    switch effect {
    case .lookAtCPU(let look): return control(look)
    case .lookAtCPUBy(let moment): lookBy(max(moment, budget.next))
    case .cpuBoundsChanged: return adopt(quota: controller.quota, bounds: limits.bounds)
    case .overwritten(let found, let writer): return writeBack(over: found, writer)
    case .declared(let declared): return take(declared)
    case .bringIntoForce(let applied): return bringIntoForce(applied)
    case .rejoin: return rejoin()
    default: break
    }
    return []
  }

  private func begin() -> [Effect] {
    let base = container.base
    container.record(.start, before: controller.quota, after: controller.quota)
    nextReading = monotonicNow()
    guard predicted > 0 else { return [] }
    let wanted = controller.bounds.clamp(base.quota(ofCores: predicted))
    let before = controller.quota
    // What the kernel refuses is not needed: the container starts with what it has.
    guard wanted < before, (try? limits.apply(base.limit(of: wanted))) != nil else { return [] }
    let effects = adopt(quota: wanted, bounds: controller.bounds)
    nextReading = monotonicNow()
    container.record(.start, before: before, after: wanted)
    return effects
  }

  // MARK: events

  private func hear(_ token: UInt64) throws(SystemError) -> [Effect] {
    switch token {
    case Token.alarm:
      handles.alarm?.acknowledge()
      waiting.call = true
      return waitsForBudget() ? [] : try lookAgain()
    case Token.events:
      // The ring stays readable until it is read: not watched, it does not wake the loop again.
      if container.memory == nil, waitsForBudget(), let events = handles.events {
        poller.remove(events.descriptor.number)
        waiting.events = true
        return []
      }
      return try hearScheduler().effects
    default: return try takeHooks()
    }
  }

  private func lookBy(_ moment: Nanoseconds?) {
    if let moment { nextReading = min(nextReading ?? .max, moment) }
  }

  /// Whether the container was looked at too often of late; the next look is when that is over.
  private func waitsForBudget() -> Bool {
    guard budget.next > monotonicNow() else { return false }
    lookBy(budget.next)
    return true
  }

  /// Looks at what is due, and at what has waited for the budget.
  private func lookAgain() throws(SystemError) -> [Effect] {
    let (isCall, hasEvents) = waiting
    waiting = (false, false)
    guard hasEvents, let events = handles.events else { return reading(isCalled: isCall) }
    try poller.add(events.descriptor.number, token: Token.events)
    let (effects, isLook) = try hearScheduler()
    if isLook || nextReading ?? .max > monotonicNow() { return effects }
    return effects + reading(isCalled: isCall)
  }

  /// Goes over to the hooks in the scheduler, if they have come.
  private func takeHooks() throws(SystemError) -> [Effect] {
    switch promise?.take() ?? .end {
    case .nothing: return []
    case .end:
      promise = nil
      return []
    case .files(let files, let nets):
      promise = nil
      handles.adopt(hooks: files)
      if let events = handles.events {
        try poller.add(events.descriptor.number, token: Token.events)
      }
      controller.gainHooks(bounds: limits.bounds)
      if var state = container.directory.load() {
        state.source = nets.source + (container.noticesWrites ? "" : ", no inotify")
        state.noteMemorySource(nets)
        try container.directory.save(state)
      }
      return reading(isCalled: false)
    }
  }

  /// Takes all that the hooks in the scheduler have seen as one event: the worst.
  private func hearScheduler() throws(SystemError) -> (effects: [Effect], isLook: Bool) {
    var worst: SchedulerEvent?
    var effects: [Effect] = []
    let inForce = limits.ours.quota.map { $0 * 1000 }
    while let event = try handles.events?.take() {
      if case .nearLine = event.kind {
        // Before anything else: a container that grows is past it in a millisecond.
        effects.append(.lookAtMemory(isRoutine: false))
      } else if event.kind == .ancestorThrottled {
        controller.countAncestorThrottle()
        effects.append(.lookAtParent)
      } else if event.quota == inForce, worst?.kind != .throttled {
        // One of another quota was answered already: each write is a refill.
        worst = event
      }
    }
    guard let worst else {
      if nextReading == nil { handles.events?.rest() }
      return (effects, false)
    }
    return (effects + look(.event(worst)), true)
  }

  // MARK: control

  private func reading(isCalled: Bool) -> [Effect] { look(.reading(isCalled: isCalled)) }

  /// What comes first: kernel memory crosses no threshold, but it takes CPU time to use it.
  private func look(_ look: CPULook) -> [Effect] {
    if container.noticesWrites {
      return [.lookAtMemory(isRoutine: true), .lookAtParent, .lookAtCPU(look)]
    }
    return [.lookAtMemory(isRoutine: false), .lookAtParent, .judgeWrites, .lookAtCPU(look)]
  }

  /// Has the controller look at the use as it is now, and does what it says.
  private func control(_ look: CPULook) -> [Effect] {
    do throws(SystemError) {
      let (usage, now) = (try handles.meter.read(), monotonicNow())
      budget.take(at: now)
      limits.budget?.charge(usage: usage, at: now)
      let step = observe(look, usage, now)
      let before = limits.ours
      var effects = take(step)
      if let decision = step.decision {
        effects += apply(decision, from: before, use: step.use)
      } else if container.isMember {
        // What was wanted some periods ago and is not any more shall not be granted later.
        let isOver = nextReading == nil || now - asked.time > 3 * container.base.period
        if isOver { effects.append(.wantNoMore(.cpu)) }
      }
      effects.append(.usedCPU(usage, at: now))
      return effects
    } catch {
      // ENODEV: the cgroup is gone, and the pidfd will say so too.
      nextReading = nil
      return [.checkMembers]
    }
  }

  private func observe(
    _ look: CPULook, _ usage: Nanoseconds, _ now: Nanoseconds
  ) -> CPUController.Step {
    switch look {
    case .reading(let isCalled):
      return controller.observe(usage: usage, at: now, called: isCalled, surroundings: self)
    case .event(let event):
      return controller.hear(
        CPUController.KernelEvent(
          event.kind == .throttled ? .throttled : .runningOut(left: event.left),
          periodEnd: event.periodEnd > now ? event.periodEnd : nil),
        usage: usage, at: now, surroundings: self)
    }
  }

  private func take(_ step: CPUController.Step) -> [Effect] {
    nextReading = step.deadline.map { max($0, budget.next) }
    if nextReading == nil { handles.events?.rest() }
    if step.armsAlarm { handles.alarm?.arm() }
    return step.deadline.map { [.willLookAtCPU($0)] } ?? []
  }

  private func apply(
    _ decision: QuotaDecision, from old: CFSBandwidth, use: Nanoseconds
  ) -> [Effect] {
    if container.isMember { return ask(decision, use: use) }
    let before = container.log.lastQuota
    if limits.isReadOnly {
      container.record(decision.rule, before: before, after: decision.quota, use: use)
      return []
    }
    if container.isRuntimeWriting { return holdOn() }
    do throws(SystemError) {
      try limits.apply(container.base.limit(of: decision.quota), over: old)
      container.record(decision.rule, before: before, after: decision.quota, use: use)
      // A literal would be a constant, whose count of references dirties a page of data.
      var effects: [Effect] = []
      effects.append(.wrote)
      effects.append(.judgeOverheard)
      return effects
    } catch {
      if error.errno == EAGAIN { return holdOn() }
      return refuse(decision.quota, use: use).effects
    }
  }

  /// Nothing was written: what the law wants it will want again.
  private func holdOn() -> [Effect] {
    hold(limits.quota)
    lookBy(monotonicNow() + ParentLimit.retryInterval)
    return []
  }

  func adopt(quota: Nanoseconds, bounds: QuotaBounds) -> [Effect] {
    // ENODEV: the group is gone.
    guard let usage = try? handles.meter.read() else { return [.checkMembers] }
    return take(controller.adopt(quota: quota, bounds: bounds, now: monotonicNow(), usage: usage))
  }

  func hold(_ quota: Nanoseconds) { controller.hold(quota) }

  /// Looks again within a period.
  func lookWithinPeriod(of now: Nanoseconds) { lookBy(now + container.base.period) }

  private static func parameters(
    _ base: CPUBase, _ handles: ContainerHandles, cpus: Int64, law: ControlLaw.Parameters,
    isShared: Bool
  ) -> CPUController.Parameters {
    var parameters = CPUController.Parameters(
      period: base.period, cpus: cpus, quietUse: base.bounds(hasAlarm: true).floor / 5,
      hasAlarm: handles.hearsUse, law: law)
    parameters.hasHooks = handles.events != nil
    parameters.isShared = isShared
    // Nothing refills under observe, and no limit keeps the use from being far above what would be.
    parameters.keepsBooks = !handles.writer.isReadOnly
    return parameters
  }

  func wasContended() -> Bool { handles.wasContended() }
  func isFrozen() -> Bool { handles.isFrozen() }

  /// The law counts in periods, and what it has seen was of another length.
  func restart() {
    let before = controller
    controller = CPUController(
      Self.parameters(
        container.base, handles, cpus: cpus, law: law, isShared: container.isMember),
      quota: before.quota, bounds: limits.bounds, now: monotonicNow(),
      // ENODEV: the group is gone, and the next look finds that out.
      usage: (try? handles.meter.read()) ?? 0)
    controller.continues(before)
    budget = LookBudget(period: container.base.period)
  }
}
