// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// What a supervisor does for a container that shares its limits with others: what the laws want is
/// asked for, and what was granted is written.
extension Supervision: LimitKeeper {
  func takePart(_ handover: Handover) throws(SystemError) {
    guard let priority = handover.priority else { return }
    // The root of its file system is its application's directory.
    let path = "/"
    // What the kernel has is what it holds.
    let held = base.cores(of: base.quota(of: foreign.ours))
    var record = MemberRecord(
      nonce: directory.nonce, priority: priority, cpu: base.share, memory: memory?.share)
    record.cpu.held = min(held, ApplicationMessage.most)
    record.isResting = true
    let known = try? ApplicationRoom(opening: path)
    let file: MemberFile
    if let adopted = known?.adopt(directory.nonce) {
      file = adopted
      file.replace(record)
    } else {
      file = try ApplicationRoom(opening: path).register(record)
    }
    let participation = try Participation(
      ApplicationRoom(opening: path), file, most: (base.limit, memory?.base.limit ?? .max),
      on: poller, self)
    application = participation
    try openBooks(held: base.quota(of: foreign.ours))
    participation.seek()
  }

  func openBooks(held: Nanoseconds) throws(SystemError) {
    books = MemberBooks(
      held: held, period: base.period, now: monotonicNow(), usage: try attachment.meter.read())
  }

  /// The container declares something else by now.
  func joinAgain() {
    guard let application else { return }
    if base.above.isRaised { attachment.parent.cpu?.review() }
    _ = base.above.follow(attachment.parent.cpu)
    application.redeclare((.cpu, base.share))
    application.want(base.share.declared, of: .cpu)
  }

  /// What its memory needs is asked for, and what it does not need any more is not.
  func askForMemory(_ memory: MemorySupervision) {
    guard let application else { return }
    if memory.isRedeclared {
      memory.isRedeclared = false
      application.found(memory.share.held, of: .memory)
      application.redeclare((.memory, memory.share))
    } else if let wish = memory.wish {
      application.want(wish.limit, of: .memory, inUse: wish.use)
    } else if let wanted = application.wanted(.memory), let held = application.held(.memory),
      wanted > held
    {
      application.want(held, of: .memory)
    }
  }

  /// Less is written at once, more when it was granted; until then what is in force stays.
  func ask(_ decision: QuotaDecision, use: Nanoseconds) {
    controller.hold(base.quota(of: foreign.ours))
    asked = (decision.rule, decision.quota, use, monotonicNow())
    application?.want(base.cores(of: decision.quota), of: .cpu)
    judgeWhatWasOverheard()
  }

  /// What was wanted some periods ago and is not any more shall not be granted later.
  func wantNoMore() {
    guard let application, let wanted = application.wanted(.cpu),
      let held = application.held(.cpu), wanted > held
    else { return }
    let isOver = nextReading == nil || monotonicNow() - asked.time > 3 * base.period
    if isOver { application.want(held, of: .cpu) }
  }

  func keep(_ amount: Int64, of resource: SharedResource) -> (held: Int64, spent: Int64) {
    if resource == .memory {
      guard let memory else { return (amount, 0) }
      if amount > memory.base.inner ?? .max { followApplication((0, amount)) }
      let (held, inUse, entry) = memory.keep(amount)
      if let entry {
        record.append(entry)
        controller.counters.count(entry)
      }
      return (held, inUse)
    }
    if amount > base.inner?.nanocores ?? .max { followApplication((amount, 0)) }
    let before = base.quota(of: foreign.ours)
    let held = base.quota(of: base.limit(of: base.quota(ofCores: amount)))
    var spent: Int64 = 0
    if let usage = try? attachment.meter.read() {
      books?.charge(usage: usage, at: monotonicNow())
      spent = base.cores(of: max(min(controller.spent(usage), before), books?.excess ?? 0))
    }
    books?.hold(held)
    let isAsked = base.cores(of: asked.quota) == amount
    // Part of what was asked for a moment ago is granted for the use that was seen then.
    let isPart = held > before && monotonicNow() - asked.time <= 3 * base.period
    do throws(SystemError) {
      try writeHeld(
        isAsked ? asked.rule : held > before ? .granted : .recalled,
        use: isAsked || isPart ? asked.use : 0)
      return (amount, spent)
    } catch {
      if error.errno == EAGAIN {
        // It is its own, and is written when it can be.
        nextDue = monotonicNow() + ParentLimit.retryInterval
        return (amount, spent)
      }
      guard let found = refuseHeld(held) else { return (amount, spent) }
      return (found, spent)
    }
  }

  /// Makes what is held the kernel's quota, as far as what was used before leaves it.
  private func writeHeld(_ rule: Rule, use: Nanoseconds) throws(SystemError) {
    guard let books else { return }
    let (before, now) = (base.quota(of: foreign.ours), monotonicNow())
    let write = books.write(over: before, at: now)
    nextDue = write.due
    // No limit is a limit that is not ours yet, however much it is.
    guard let quota = write.quota ?? (foreign.ours.quota == nil ? before : nil) else { return }
    let limit = base.limit(of: quota)
    try setLimit(limit, from: foreign.ours)
    foreign.wrote(limit)
    overhear()
    let after = base.quota(of: limit)
    controller.hold(after)
    append(rule: rule, before: before, after: after, use: use)
    // It may have been asleep, and what it does not need it gives back.
    if after > before { nextReading = min(nextReading ?? .max, now + base.period) }
  }

  /// Makes what is held the kernel's quota: what was used too much before has drained, or somebody
  /// has written what was in force a moment ago.
  func writeHeldAgain(_ rule: Rule) {
    nextDue = nil
    guard let usage = try? attachment.meter.read() else { return checkMembers() }
    books?.charge(usage: usage, at: monotonicNow())
    do throws(SystemError) {
      try writeHeld(rule, use: 0)
      judgeWhatWasOverheard()
    } catch {
      if error.errno == EAGAIN {
        nextDue = monotonicNow() + ParentLimit.retryInterval
        return
      }
      guard let held = books?.held, let found = refuseHeld(held) else { return }
      application?.found(found, of: .cpu)
    }
  }

  /// The kernel would not have what is held.
  ///
  /// - Returns: What there is, in nanocores; nil when the group is gone.
  private func refuseHeld(_ wanted: Nanoseconds) -> Int64? {
    guard let held = refuse(wanted, use: 0) else { return nil }
    nextDue = nil
    books?.hold(held)
    return base.cores(of: held)
  }
}
