// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import Hooks
internal import Quantities
internal import State
internal import Syscalls

/// The loop of a supervisor: event, law, write, record.
///
/// One thread, one epoll. While the container is idle no timer runs, and the loop sleeps on
/// descriptors alone.
final class Supervision: CPUController.Surroundings {
  let directory: StateDirectory
  var base: CPUBase
  private let cpus: Int64
  private let law: ControlLaw.Parameters
  let attachment: Attachment
  var controller: CPUController
  var foreign: ForeignWrites
  var record: Record
  private var counters: CounterFile

  let poller: Poller
  private var timer: DeadlineTimer
  private let watch: WriteWatch
  var heard = HeardWriters()
  /// Behind a write of ours somebody else's was heard, or may have been.
  private var hasOverheard = false
  /// Something has been done since the stack was given back that went deep.
  private var hasGoneDeep = true
  private let conversations: Conversations
  let memory: MemorySupervision?
  /// The record of this run; nil where none is kept.
  private var history: HistorySupervision?
  /// What the group around the container's own carries of that one.
  let weights: GroupWeights
  /// The container's part in its application; nil for one alone.
  var application: Participation?
  /// What was wanted of the application last: for the record, and to want it no longer.
  var asked: (rule: Rule, quota: Nanoseconds, use: Nanoseconds, time: Nanoseconds) = (
    .granted, 0, 0, 0
  )
  /// What it has used of what its application gave it, and when more of that may be written.
  var books: MemberBooks?
  var nextDue: Nanoseconds?
  /// Hooks that are to come yet.
  private var promise: HookPromise?

  var nextReading: Nanoseconds?
  var nextCorrection: Nanoseconds?
  /// An update that is on its way.
  var updating: OpenUpdate?
  private var nextMemberCheck: Nanoseconds?
  /// The time to the next look at who is left, where nothing tells of the end.
  private var memberPatience = Supervision.shortestMemberPatience
  private var hasEnded = false
  private var budget: LookBudget
  /// What was to be looked at and waits for the budget: the alarm's call, or the hooks' events.
  private var waiting: (call: Bool, events: Bool) = (false, false)
  /// The connection of the keeper.
  private var keeper: UInt64?
  /// A process that has ended is reaped within that, and is counted until then.
  private static let shortestMemberPatience: Nanoseconds = 10_000_000

  enum Token {
    static let exit: UInt64 = 1
    static let timer: UInt64 = 2
    static let alarm: UInt64 = 3
    static let watch: UInt64 = 4
    static let listener: UInt64 = 5
    static let events: UInt64 = 6
    static let promise: UInt64 = 7
    static let members: UInt64 = 9
  }

  /// Takes over an attached container.
  init(
    directory: consuming StateDirectory, _ handover: Handover
  ) throws(SystemError) {
    base = handover.base
    let attachment = Attachment(handover, nonce: directory.nonce)
    self.attachment = attachment
    poller = try Poller()
    timer = try DeadlineTimer()
    watch = WriteWatch(
      adopting: handover.take(.watch), namesWriters: handover.namesWriters)
    conversations = Conversations(listener: handover.take(.listener))
    record = try Record(in: directory.descriptor)
    counters = try CounterFile(in: directory.descriptor)
    memory = try MemorySupervision(handover)
    memory?.parent = attachment.parent.memory
    weights = GroupWeights(handover)

    let bounds = base.bounds(hasAlarm: attachment.hearsUse)
    // What the kernel held is the truth, also after a crash; what it holds now is to be judged.
    let found = handover.found
    let quota = min(base.quota(of: found), max(bounds.ceiling, base.quota(of: base.declared)))
    foreign = ForeignWrites(
      ours: found, declared: base.declared, told: base.told, isOurGroup: base.inner != nil)
    cpus = handover.cpus
    budget = LookBudget(period: base.period)
    law = handover.law
    controller = CPUController(
      Self.parameters(
        base, attachment, cpus: handover.cpus, law: handover.law,
        isShared: handover.priority != nil), quota: quota,
      bounds: bounds,
      now: monotonicNow(), usage: try attachment.meter.read())
    history = HistorySupervision(
      handover, nonce: directory.nonce, memory: memory,
      usage: (try? attachment.meter.read()) ?? 0)
    self.directory = directory

    if attachment.initProcess.descriptor.isOpen {
      try poller.add(attachment.initProcess.descriptor.number, token: Token.exit)
    } else {
      try attachment.watchMembers(poller, token: Token.members)
      nextMemberCheck = monotonicNow()
    }
    try poller.add(timer.descriptor.number, token: Token.timer)
    try watch.add(to: poller, token: Token.watch)
    try poller.addListener(conversations.listener.number, token: Token.listener)
    if let events = attachment.events {
      try poller.add(events.descriptor.number, token: Token.events)
    }
    if let alarm = attachment.alarm {
      try poller.add(alarm.descriptor.number, token: Token.alarm)
    }
    let promised = handover.take(.promise)
    if promised.isOpen {
      try poller.add(promised.number, token: Token.promise)
      promise = HookPromise(socket: promised)
    }
    append(rule: .start, before: quota, after: quota, use: 0)
    if handover.predicted > 0, handover.priority == nil { startWith(handover.predicted) }
    settleParent()
    if let update = handover.update {
      let now = monotonicNow()
      updating = OpenUpdate(
        update: update, start: now, deadline: now + OpenUpdate.patienceWithShim)
      _ = belongsToUpdate(found)
    }
    if let memory {
      try memory.add(to: poller)
      record.append(memory.opening())
      if let entry = memory.startWithPrediction() { record.append(entry) }
    }
    nextReading = monotonicNow()
    try takePart(handover)
  }

  /// Lowers the limit to what earlier runs of the container needed at first.
  private func startWith(_ cores: Int64) {
    let wanted = controller.bounds.clamp(base.quota(ofCores: cores))
    let before = controller.quota
    guard wanted < before, (try? setLimit(base.limit(of: wanted), from: foreign.ours)) != nil
    else { return }
    foreign.wrote(base.limit(of: wanted))
    adopt(quota: wanted, bounds: controller.bounds)
    append(rule: .start, before: before, after: wanted, use: 0)
  }

  /// Supervises until the container has ended, then leaves.
  func run() throws(SystemError) {
    while !hasEnded {
      let next = min(
        nextReading ?? .max, nextCorrection ?? .max, nextMemberCheck ?? .max, nextDue ?? .max,
        memory?.deadline ?? .max, application?.deadline ?? .max, updating?.deadline ?? .max)
      try timer.set(next == .max ? nil : next)
      // For as long as it sleeps. Who answers its peers does nothing deep, and needs it again.
      if next == .max, hasGoneDeep {
        escra_trim_stack()
        hasGoneDeep = false
      }
      var tokens: [UInt64] = []
      try poller.wait { tokens.append($0) }
      // Before anything is decided over what somebody has written.
      if let place = tokens.firstIndex(of: Token.watch) { tokens.swapAt(0, place) }
      for token in tokens where !hasEnded { try handle(token) }
      if base.inner != nil, !hasEnded { judgeWhatWasOverheard() }
      counters.note(controller.counters)
    }
    // What still exists of the group is nobody's demand any more.
    if !attachment.writer.isReadOnly {
      let floor = min(controller.bounds.floor, controller.quota)
      try? attachment.writer.set(base.limit(of: floor), from: foreign.ours)
    }
    history?.end(self)
    reportLoss(atEnd: true)
    leaveParents()
    application?.leave()
    // The directory itself is out of reach, and the keeper's to remove.
    directory.remove()
    _ = flock(directory.descriptor.number, LOCK_UN)
  }

  private func handle(_ token: UInt64) throws(SystemError) {
    if isApplications(token) {
      application?.handle(token)
      return judgeWhatWasOverheard()
    }
    hasGoneDeep = true
    switch token {
    case Token.exit:
      noteHistory()
      poller.remove(attachment.initProcess.descriptor.number)
      try attachment.watchMembers(poller, token: Token.members)
      checkMembers()
    case Token.members: checkMembers()
    case Token.timer:
      timer.acknowledge()
      let now = monotonicNow()
      if let moment = nextMemberCheck, moment <= now { checkMembers() }
      if let moment = nextCorrection, moment <= now { judgeForeignWrite() }
      if let open = updating, let moment = open.deadline, moment <= now {
        settleUpdate(isTaken: open.isShown)
      }
      if let moment = memory?.deadline, moment <= now { lookAtMemory(isRoutine: watch.hears) }
      if let moment = nextReading, moment <= now { try lookAgain() }
      if let moment = nextDue, moment <= now { writeHeldAgain(.due) }
      if let moment = application?.deadline, moment <= now {
        application?.tick()
        judgeWhatWasOverheard()
      }
    case Token.alarm:
      attachment.alarm?.acknowledge()
      waiting.call = true
      if !waitsForBudget() { try lookAgain() }
    // Who cannot hear what is said would be woken for it again and again: another one may.
    case Token.events:
      if memory == nil, waitsForBudget(), let events = attachment.events {
        poller.remove(events.descriptor.number)
        waiting.events = true
      } else {
        try hearScheduler()
      }
    case Token.promise: try takeHooks()
    case Token.watch:
      guard hearWriters() else { return }
      judgeForeignWrite()
      lookAbove()
      lookAtMemory()
    case Token.listener: conversations.accept(poller)
    case MemorySupervision.Token.use, MemorySupervision.Token.outOfMemory:
      if let memory { note(memory.hear(token)) }
    default:
      let message = conversations.hear(token, poller) { hear(update: $0, from: token) }
      if !conversations.contains(token) { loseShim(token) }
      if message == .snapshot { noteHistory(isWritten: true) }
      if message == .keeperIsHere {
        keeper = token
      } else if case .named(let process, let name) = message {
        heard.answer(process, name)
        judgeForeignWrite()
      } else if message == .over, token == keeper {
        hasEnded = true
      } else if message == .look {
        followApplication()
      }
      if token == keeper, !conversations.contains(token) { keeper = nil }
    }
  }

  private func isApplications(_ token: UInt64) -> Bool {
    token >= Participation.Token.link || token == Participation.Token.connection
      || token == Participation.Token.listener
  }

  // MARK: memory

  /// - Parameter isRoutine: Whether nobody can have written its limit without having been heard.
  private func lookAtMemory(isRoutine: Bool = false) {
    if let memory { note(memory.look(isRoutine: isRoutine)) }
  }

  func note(_ entries: [RecordEntry]) {
    for entry in entries {
      record.append(entry)
      controller.counters.count(entry)
    }
    guard let memory else { return }
    if memory.isBaseChanged {
      memory.isBaseChanged = false
      saveBase()
    }
    askForMemory(memory)
  }

  // MARK: control

  /// Whether the container was looked at too often of late: then the next look is when that is over.
  private func waitsForBudget() -> Bool {
    guard budget.next > monotonicNow() else { return false }
    nextReading = min(nextReading ?? .max, budget.next)
    return true
  }

  /// Looks at what is due, and at what has waited for the budget.
  private func lookAgain() throws(SystemError) {
    let (isCall, hasEvents) = waiting
    waiting = (false, false)
    if hasEvents, let events = attachment.events {
      try poller.add(events.descriptor.number, token: Token.events)
      try hearScheduler()
      if nextReading ?? .max > monotonicNow() { return }
    }
    read(called: isCall)
  }

  private func read(called: Bool) {
    control { usage, now in
      controller.observe(usage: usage, at: now, called: called, surroundings: self)
    }
  }

  /// Goes over to the hooks in the scheduler, where they have come.
  private func takeHooks() throws(SystemError) {
    switch promise?.take() ?? .end {
    case .nothing: break
    case .end: promise = nil
    case .files(let files, let nets):
      promise = nil
      attachment.adopt(hooks: files)
      if let events = attachment.events {
        try poller.add(events.descriptor.number, token: Token.events)
      }
      controller.gainHooks(bounds: base.bounds(hasAlarm: attachment.hearsUse))
      if var state = directory.load() {
        state.source = nets.source + (watch.hears ? "" : ", no inotify")
        state.noteMemorySource(nets)
        try directory.save(state)
      }
      read(called: false)
    }
  }

  /// Takes all that the hooks in the scheduler have seen as one event: the worst.
  private func hearScheduler() throws(SystemError) {
    var worst: SchedulerEvent?
    let inForce = foreign.ours.quota.map { $0 * 1000 }
    while let event = try attachment.events?.take() {
      if case .nearLine = event.kind {
        // Before anything else: whoever charges is past it in a millisecond.
        lookAtMemory()
      } else if event.kind == .ancestorThrottled {
        controller.countAncestorThrottle()
        lookAtParent()
      } else if event.quota == inForce, worst?.kind != .throttled {
        // One of another quota was answered already: each write is a refill.
        worst = event
      }
    }
    guard let worst else {
      if nextReading == nil { attachment.events?.rest() }
      return
    }
    control { usage, now in
      controller.hear(
        CPUController.KernelEvent(
          worst.kind == .throttled ? .throttled : .runningOut(left: worst.left),
          periodEnd: worst.periodEnd > now ? worst.periodEnd : nil),
        usage: usage, at: now, surroundings: self)
    }
  }

  /// Has the controller look at the use as it is now, and does what it says.
  private func control(_ look: (_ usage: Nanoseconds, _ now: Nanoseconds) -> CPUController.Step) {
    // Kernel memory crosses no threshold, but it takes CPU time to use it.
    lookAtMemory(isRoutine: watch.hears)
    lookAtParent()
    // Where nothing tells of other writers, they are looked for whenever there is a look at all.
    if !watch.hears { judgeForeignWrite() }
    do throws(SystemError) {
      let (usage, now) = (try attachment.meter.read(), monotonicNow())
      budget.take(at: now)
      books?.charge(usage: usage, at: now)
      let step = look(usage, now)
      let before = foreign.ours
      take(step)
      if let decision = step.decision {
        apply(decision, from: before, use: step.use)
      } else {
        wantNoMore()
      }
      comeBackToParent()
      history?.note(usage, at: now, quota: controller.quota, self)
      reportLoss()
    } catch {
      // ENODEV: the cgroup is gone, and the pidfd will say so too.
      nextReading = nil
      checkMembers()
    }
  }

  /// What is there of the container's last moments: its group may go with its init.
  private func noteHistory(isWritten: Bool = false) {
    guard let history, let usage = try? attachment.meter.read() else { return }
    history.note(usage, at: monotonicNow(), quota: controller.quota, self)
    history.lookAtKernel()
    if isWritten { history.snapshot(self) }
    reportLoss()
  }

  /// Has the keeper say that something of the history could not be written: once.
  ///
  /// - Parameter atEnd: Whether the container's directory, which tells the keeper its id, goes then.
  private func reportLoss(atEnd: Bool = false) {
    guard let keeper, let error = history?.takeLoss() else { return }
    conversations.send(.unrecorded(errno: error), to: keeper)
    if atEnd { Glibc.poll(nil, 0, Self.keepersTime) }
  }

  /// How long the keeper may take to read a container's id, in milliseconds.
  private static let keepersTime: Int32 = 50

  private func take(_ step: CPUController.Step) {
    let deadline = history?.deadline(step.deadline, at: monotonicNow()) ?? step.deadline
    nextReading = deadline.map { max($0, budget.next) }
    if nextReading == nil { attachment.events?.rest() }
    if step.armsAlarm { attachment.alarm?.arm() }
  }

  private func apply(_ decision: QuotaDecision, from old: CPUQuota, use: Nanoseconds) {
    let limit = base.limit(of: decision.quota)
    if application != nil { return ask(decision, use: use) }
    let before = lastQuota
    if attachment.writer.isReadOnly {
      append(rule: decision.rule, before: before, after: decision.quota, use: use)
      return
    }
    if isRuntimeWriting { return holdOn() }
    do throws(SystemError) {
      try setLimit(limit, from: old)
      foreign.wrote(limit)
      overhear()
      append(rule: decision.rule, before: before, after: decision.quota, use: use)
      judgeWhatWasOverheard()
    } catch {
      if error.errno == EAGAIN { return holdOn() }
      _ = refuse(decision.quota, use: use)
    }
  }

  /// The kernel would not have it: an ancestor has less (v1), and that is the ceiling from now on.
  ///
  /// - Returns: What there is, in nanoseconds of CPU time a period; nil when the group is gone.
  func refuse(_ wanted: Nanoseconds, use: Nanoseconds) -> Nanoseconds? {
    guard let found = try? attachment.writer.current() else {
      checkMembers()
      return nil
    }
    append(rule: .refused, before: lastQuota, after: wanted, use: use)
    let held = base.quota(of: found)
    let most = max(held, giveUpParent() ?? 0)
    adopt(quota: held, bounds: QuotaBounds(floor: controller.bounds.floor, ceiling: most))
    append(rule: .refused, before: wanted, after: held, use: use)
    return held
  }

  func adopt(quota: Nanoseconds, bounds: QuotaBounds) {
    guard let usage = try? attachment.meter.read() else { return checkMembers() }
    take(controller.adopt(quota: quota, bounds: bounds, now: monotonicNow(), usage: usage))
  }

  private static func parameters(
    _ base: CPUBase, _ attachment: Attachment, cpus: Int64, law: ControlLaw.Parameters,
    isShared: Bool
  ) -> CPUController.Parameters {
    var parameters = CPUController.Parameters(
      period: base.period, cpus: cpus, quietUse: base.bounds(hasAlarm: true).floor / 5,
      hasAlarm: attachment.hearsUse, law: law)
    parameters.hasHooks = attachment.events != nil
    parameters.isShared = isShared
    // Nothing refills under observe, and no limit keeps the use from being far above what would be.
    parameters.keepsBooks = !attachment.writer.isReadOnly
    return parameters
  }

  func wasContended() -> Bool { attachment.wasContended() }
  func isFrozen() -> Bool { attachment.isFrozen() }

  // MARK: other writers

  @discardableResult
  func hearWriters() -> Bool {
    watch.take { process in
      if heard.add(process, at: monotonicNow()), let keeper {
        conversations.send(.whoIs(process), to: keeper)
      }
    }
  }

  /// Hears of a write of ours, and of what somebody may have written in the same moment: its event
  /// comes with ours.
  func overhear() {
    if !watch.hears || hearWriters() { hasOverheard = true }
  }

  /// Looks at what was written by somebody else behind a write of ours.
  func judgeWhatWasOverheard() {
    guard hasOverheard else { return }
    hasOverheard = false
    judgeForeignWrite()
  }

  func judgeForeignWrite() {
    if takeInner() { return }
    guard let found = try? attachment.writer.current(besides: foreign.ours) else {
      return checkMembers()
    }
    if belongsToUpdate(found) { return }
    let now = monotonicNow()
    if let moment = heard.asked?.until, moment > now, keeper != nil, found != foreign.ours {
      // What a write means depends on whose it is.
      nextCorrection = moment
      return
    }
    switch foreign.judge(found, by: heard.kinds, at: now) {
    case .ours:
      nextCorrection = nil
      heard = HeardWriters()
    case .drift(let moment) where moment > now:
      nextCorrection = moment
    case .drift:
      nextCorrection = nil
      guard !attachment.writer.isReadOnly else { return }
      let ours = base.limit(of: controller.quota)
      foreign.corrected(at: now)
      if (try? setLimit(ours, from: found)) != nil {
        foreign.wrote(ours)
        overhear()
        append(
          rule: .drift, before: base.quota(of: found), after: controller.quota, use: 0,
          writer: heard.last)
      }
      heard = HeardWriters()
    case .news:
      nextCorrection = nil
      if heard.kinds.contains(.runtime) { base.told = found }
      rebase(to: found, rule: .news, writer: heard.last)
      foreign.learned(found, from: heard.kinds)
      heard = HeardWriters()
      let wanted = base.limit(of: controller.quota)
      if !attachment.writer.isReadOnly, found.quota != nil || application != nil, wanted != found,
        (try? setLimit(wanted, from: found)) != nil
      {
        foreign.wrote(wanted)
        hearWriters()
      } else {
        try? attachment.writer.align(to: found)
        foreign.wrote(found)
        settleParent()
      }
      joinAgain()
    }
  }

  /// A new declared limit: the container starts from it as it would at create.
  func rebase(
    to declared: CPUQuota, rule: Rule, writer: RecordEntry.Writer? = nil,
    settling update: PendingUpdate? = nil
  ) {
    let before = controller.quota
    let hasOtherPeriod = declared.period != base.declared.period
    base.declared = declared
    _ = readAbove()
    saveBase(settling: update)
    let bounds = base.bounds(hasAlarm: attachment.hearsUse)
    if hasOtherPeriod {
      // The law counts in periods, and what it has seen was of another length.
      let before = controller
      controller = CPUController(
        Self.parameters(
          base, attachment, cpus: cpus, law: law, isShared: application != nil),
        quota: controller.quota,
        bounds: bounds,
        now: monotonicNow(), usage: (try? attachment.meter.read()) ?? 0)
      controller.continues(before)
      budget = LookBudget(period: base.period)
    }
    // A member has what it was granted, whatever it declares; more is asked for.
    let start = application.flatMap { $0.held(.cpu) }.map { base.quota(ofCores: $0) }
    if hasOtherPeriod, let start { try? openBooks(held: start) }
    adopt(quota: start ?? bounds.clamp(base.quota(of: declared)), bounds: bounds)
    append(rule: rule, before: before, after: controller.quota, use: 0, writer: writer)
  }

  /// - Parameter update: One that the low-level runtime has taken.
  func saveBase(settling update: PendingUpdate? = nil) {
    guard var state = directory.load() else { return }
    if let update { state.redeclare(memory: update.memory, swap: update.swap) }
    state.update = updating?.update
    state.base = base
    if let memory = memory?.base { state.memory = memory }
    try? directory.save(state)
  }

  // MARK: the end

  /// Finds out whether the container has ended: no process is left in its group or below it.
  ///
  /// Processes may outlive their init. On cgroup v2 the kernel tells of the last one's end. On v1
  /// only the keeper can look at the groups below; it is asked once a second as long as init is gone.
  func checkMembers() {
    let hasMembers = attachment.hasMembers
    hasEnded = hasMembers == false
    nextMemberCheck = nil
    guard hasMembers == nil, attachment.hasLostInit else { return }
    if memberPatience > Self.shortestMemberPatience, let keeper {
      conversations.send(.askEnd, to: keeper)
    }
    nextMemberCheck = monotonicNow() + memberPatience
    memberPatience = min(2 * memberPatience, 1_000_000_000)
  }

  private var lastQuota: Nanoseconds = 0

  func append(
    rule: Rule, before: Nanoseconds, after: Nanoseconds, use: Nanoseconds,
    writer: RecordEntry.Writer? = nil
  ) {
    lastQuota = after
    let entry = RecordEntry(
      time: wallClockNow(), rule: rule, applied: !attachment.writer.isReadOnly, before: before,
      after: after, use: use, period: base.period, writer: writer)
    record.append(entry)
    controller.counters.count(entry)
  }
}
