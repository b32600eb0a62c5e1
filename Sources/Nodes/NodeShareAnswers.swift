// SPDX-License-Identifier: Apache-2.0
internal import Quantities

extension NodeShare {
  mutating func read(
    _ number: UInt64, _ snapshot: LedgerSnapshot?, _ now: Nanoseconds,
    _ effects: inout [NodeEffect]
  ) {
    guard let request, request.number == number else { return }
    self.request = nil
    if let snapshot {
      if observe(snapshot, isRead: true, now, &effects) { extend(request, now, &effects) }
    } else {
      (known, isAbsent) = (nil, true)
      settleDoubt(nil)
      marks = [:]
    }
  }

  mutating func swapped(
    _ number: UInt64, _ outcome: SwapOutcome, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    guard let request, request.number == number, let swap = request.swap else { return }
    self.request = nil
    switch outcome {
    case .succeeded(let version):
      conflicts = 0
      // Each later swap of ours would have needed this one to fail.
      doubt = .none
      guard let ledger = swap.ledger, ledger.nodes[name] != nil else {
        return left(swap.ledger, version, &effects)
      }
      if let before = entry, ledger.nodes[name]?.want ?? 0 > before.want { lastAsk = now }
      note(ledger, now, &effects)
      let isNewest = known.map { $0.ledger.id != ledger.id } ?? true
      if isNewest || known.map({ $0.ledger.generation < ledger.generation }) ?? true {
        _ = accept(
          LedgerSnapshot(version: version, ledger: ledger), isRead: true, isOurs: true, now,
          &effects)
      }
      extend(request, now, &effects)
    case .conflict(let snapshot):
      conflicts += 1
      effects.append(.note(.conflict))
      let isChanged = mustRead
      mustRead = true
      if let snapshot, observe(snapshot, isRead: true, now, &effects) {
        mustRead = isChanged
        extend(request, now, &effects)
      }
      // Many nodes that want the same at once come one after the other.
      if conflicts > 1 {
        let nodes = UInt64(known?.ledger.nodes.count ?? 0)
        let spread = UInt64(1) << min(conflicts, nodes > 64 ? 10 : 6)
        retry = now + Nanoseconds(hash(conflicts &+ number) % spread) * 1_000_000
      }
    case .doubt:
      effects.append(.note(.doubt))
      if rules.contains(.fencesDoubt) { doubt = .version(swap.expected) }
      mustRead = true
      retry = now + parameters.backOff
    }
  }

  /// The node is not in the ledger any more; members that have begun meanwhile bring it in again.
  private mutating func left(
    _ ledger: ClusterLedger?, _ version: String, _ effects: inout [NodeEffect]
  ) {
    effects.append(.note(.left))
    if hasEnded { return leave() }
    known = ledger.map { LedgerSnapshot(version: version, ledger: $0) }
    isAbsent = known == nil
    if let ledger { seen = (ledger.id, ledger.generation) }
    marks = [:]
  }

  /// A number that differs from node to node.
  private func hash(_ salt: UInt64) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ salt
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash ^ (hash >> 29)
  }

  /// Takes note of a ledger, which was current after a request of ours was sent if it `isRead`.
  ///
  /// - Returns: Whether it counts.
  @discardableResult
  mutating func observe(
    _ snapshot: LedgerSnapshot, isRead: Bool, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) -> Bool {
    let ledger = snapshot.ledger
    if let seen, seen.id == ledger.id, ledger.generation < seen.generation {
      // A watch that is late is not worth a word.
      guard isRead, rules.contains(.refusesOlder) else {
        if !isRead { return false }
        return accept(snapshot, isRead: isRead, now, &effects)
      }
      // Another has swapped since this was read: the answer is late, and no older ledger is back.
      if let sent = seenAtRequest, sent.id == ledger.id, ledger.generation >= sent.generation {
        return false
      }
      effects.append(.note(.refused(generation: ledger.generation, seen: seen.generation)))
      retry = now + parameters.validity / 4
      mustRead = true
      return false
    }
    return accept(snapshot, isRead: isRead, now, &effects)
  }

  private mutating func accept(
    _ snapshot: LedgerSnapshot, isRead: Bool, isOurs: Bool = false, _ now: Nanoseconds,
    _ effects: inout [NodeEffect]
  ) -> Bool {
    let before = entry
    let ledger = snapshot.ledger
    seen = (ledger.id, ledger.generation)
    (known, isAbsent) = (snapshot, false)
    if ledger.explicit == proposal { proposal = nil }
    if isRead || doubt != .unknown { settleDoubt(snapshot.version) }
    if let before, let after = entry, !isOurs, after.held != before.held {
      if after.held > before.held {
        gained(after.held - before.held, held: after.held, now, &effects)
      } else {
        effects.append(.note(.lost(before.held - after.held, held: after.held)))
      }
    }
    var marks: [String: (generation: Int64, since: Nanoseconds)] = [:]
    for (name, generation) in snapshot.summary.marks {
      let old = self.marks[name]
      marks[name] = old?.generation == generation ? old : (generation: generation, since: now)
    }
    self.marks = marks
    return true
  }

  /// A swap that expects a version cannot happen once the ledger has another one.
  private mutating func settleDoubt(_ version: String?) {
    switch doubt {
    case .none: break
    case .unknown: doubt = rules.contains(.fencesDoubt) ? .version(version) : .none
    case .version(let expected): if expected != version { doubt = .none }
    }
  }

  /// The engine has answered: what is held may be used for as long again.
  private mutating func extend(
    _ request: Request, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    guard doubt == .none, let entry else { return }
    guard entry.mark == nil || !rules.contains(.clearsBeforeUse) else { return }
    let from = rules.contains(.fromBeforeSending) ? request.sent : now
    let wasOver = validUntil.map { $0 <= now } ?? false
    validUntil = max(validUntil ?? from, from + parameters.validity)
    if wasOver, entry.held > entry.minimum { effects.append(.note(.renewed(held: entry.held))) }
    lastRead = max(lastRead ?? request.sent, request.sent)
  }

  /// What a swap of ours has done.
  mutating func note(
    _ ledger: ClusterLedger, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    guard let after = ledger.nodes[name] else { return }
    guard let known, known.ledger.id == ledger.id, let before = known.ledger.nodes[name] else {
      effects.append(.note(.joined(held: after.held)))
      return
    }
    if known.ledger.generation + 1 != ledger.generation { return }
    for (other, node) in ledger.nodes where other != name {
      guard let old = known.ledger.nodes[other] else { continue }
      if node.mark != nil, old.mark == nil { effects.append(.note(.marked(other))) }
      if node.held < old.held { effects.append(.note(.took(old.held - node.held, from: other))) }
    }
    if after.held > before.held {
      gained(after.held - before.held, held: after.held, now, &effects)
    } else if after.held < before.held {
      effects.append(.note(.gave(before.held - after.held, held: after.held)))
    }
  }

  private mutating func gained(
    _ amount: Int64, held: Int64, _ now: Nanoseconds, _ effects: inout [NodeEffect]
  ) {
    effects.append(.note(.gained(amount, held: held, waited: now - (lackingSince ?? now))))
    lackingSince = nil
  }
}
