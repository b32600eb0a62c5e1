// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Quantities

/// What is known without asking a broker: sums over the kernel's limits, and use.
struct Checks {
  /// The sum of the limits of all cgroups that exist.
  var kernelSum: Int64 = 0
  /// Use above the limit: what is used fills it, the limit drains it.
  var excess: Double = 0
  private var largest: Int64 = 0
  private var drainedAt: Nanoseconds = 0
  /// The greatest excess so far, in periods' worth of the limit.
  var greatest: Double = 0

  mutating func use(
    _ amount: Int64, limit: Int64, period: Nanoseconds, at now: Nanoseconds
  ) {
    excess -= Double(limit) * Double(now - drainedAt) / Double(period)
    // What was used under a larger limit was within that one.
    largest = excess <= 0 ? limit : max(largest, limit)
    excess = max(0, excess) + Double(amount)
    drainedAt = now
    if largest > 0 { greatest = max(greatest, excess / Double(largest)) }
  }
}

extension Simulation {
  /// After every event.
  func check() {
    // Invariant 1: what the kernel keeps is within the limit that is in force.
    if checks.kernelSum > limits.inForce {
      fail("the kernel's limits are \(checks.kernelSum), \(limits.inForce) is in force")
    }
    if events % 1000 == 0 { recount() }
  }

  /// What a broker charges is never less than what the kernel keeps.
  func checkCharge(_ container: Int) {
    let own = containers[container]
    guard let lockHolder, let account = pool(of: lockHolder)?.account(own.nonce),
      account.standing != .expected, account.charged < own.kernel
    else { return }
    fail("\(own.nonce) is charged \(account.charged), and the kernel has \(own.kernel)")
  }

  /// The sums once more, from nothing.
  private func recount() {
    let sum = containers.reduce(0) { $0 + ($1.exists ? $1.kernel : 0) }
    if sum != checks.kernelSum { fail("counted \(sum), kept \(checks.kernelSum)") }
    guard let holder = lockHolder, let broker = processes[holder].broker else { return }
    let pool = resource == .cpu ? broker.cpu : broker.memory
    let charged = pool.accounts.reduce(0) { $0 + $1.charged }
    if charged != pool.charged { fail("charged \(charged), kept \(pool.charged)") }
  }

  func pool(of process: Int) -> Pool? {
    let broker = processes[process].broker
    return resource == .cpu ? broker?.cpu : broker?.memory
  }

  /// Invariant 7: nobody gets more than its fair share while somebody is below it and asks.
  func checkGrants(_ actions: [BrokerAction], by process: Int, before: Pool?) {
    guard let before, let pool = pool(of: process) else { return }
    var raised: [(UInt64, Int64)] = []
    for case .send(let message, _) in actions {
      if case .grant(let limit) = message.body { raised.append((message.nonce, limit)) }
    }
    guard !raised.isEmpty else { return }
    let joined = pool.accounts.filter { $0.standing == .joined }
    let others = pool.accounts.reduce(0) { $0 + ($1.standing == .joined ? 0 : $1.charged) }
    let level = Self.fairLevel(pool.limit - others, joined)
    let poor = joined.first { account in
      account.recall == nil
        && account.charged + 2 * grain
          < min(account.reach, Self.bounded(account, level))
    }
    guard let poor else { return }
    for (nonce, limit) in raised {
      guard let account = pool.account(nonce), account.charged == limit,
        limit > Self.bounded(account, level) + grain,
        before.account(nonce)?.charged ?? 0 < limit
      else { continue }
      fail("\(nonce) was granted \(limit) above its fair share, and \(poor.nonce) waits")
    }
  }

  var grain: Int64 { resource == .cpu ? 10_000_000 : 1 << 20 }

  static func bounded(_ account: Pool.Account, _ level: Int64) -> Int64 {
    max(account.floor, min(account.ceiling, account.bound, level))
  }

  /// The level at which everybody's bounded share together is the limit: found by filling, where
  /// the broker finds it by halving.
  static func fairLevel(_ limit: Int64, _ accounts: [Pool.Account]) -> Int64 {
    var steps = Set<Int64>()
    for account in accounts {
      steps.formUnion([account.floor, min(account.ceiling, account.bound)])
    }
    var level: Int64 = 0
    var sum = accounts.reduce(0) { $0 + $1.floor }
    for step in steps.sorted() {
      let rising = Int64(
        accounts.count { $0.floor <= level && min($0.ceiling, $0.bound) > level })
      let needed = rising * (step - level)
      if sum + needed > limit { return rising == 0 ? level : level + (limit - sum) / rising }
      sum += needed
      level = step
    }
    return level
  }

  /// What a pod bounds is divided by the rules, and none of it is left to nobody.
  func checkGroups(_ pool: Pool?) {
    guard let pool else { return }
    var declared: Int64 = 0
    for account in pool.accounts where account.group == nil { declared += account.declared }
    for (id, group) in pool.groups.byID {
      let all = pool.accounts.filter { $0.group == id }
      declared += min(group.limit, all.reduce(0) { $0 + $1.declared })
      let joined = all.filter { $0.standing == .joined }
      let left = all.reduce(group.limit) { $0 - ($1.standing == .joined ? 0 : $1.charged) }
      let wanted = joined.reduce(0) { $0 + $1.wanted }
      if group.isRaised || wanted <= left {
        if joined.contains(where: { $0.bound < .max }) { fail("pod \(id) bounds without need") }
        continue
      }
      let sum = joined.reduce(0) { $0 + min($1.bound, 1 << 48) }
      let floors = joined.reduce(0) { $0 + $1.floor }
      if sum > max(left, floors) { fail("\(sum) of pod \(id) are divided, and \(left) are left") }
      // Shares are rounded down.
      if sum < left - Int64(joined.count) { fail("\(left - sum) of pod \(id) are nobody's") }
      let level = Self.fairLevel(
        left,
        joined.map {
          var account = $0
          account.bound = .max
          return account
        })
      for account in joined
      where account.bound < min(account.wanted, max(account.floor, min(account.ceiling, level))) {
        fail("\(account.nonce) has \(account.bound) of pod \(id), and \(level) is fair")
      }
    }
    if pool.limits.explicit == nil, pool.limit != declared {
      fail("the limit is \(pool.limit), and \(declared) are declared")
    }
  }

  /// A while after the last thing that went wrong: everything is known, and what can be had is.
  func checkSettled() {
    guard let holder = lockHolder, let pool = pool(of: holder) else {
      if containers.contains(where: { $0.process != nil }) { fail("nobody became the broker") }
      return
    }
    let living = containers.filter { $0.isRegistered && !$0.hasEnded }
    if pool.accounts.count != living.count {
      let others = pool.accounts.filter { account in
        !living.contains { $0.nonce == account.nonce }
      }
      let text = others.map { "\($0.nonce) \($0.standing)" }
      fail("\(pool.accounts.count) accounts of \(living.count) members: \(text)")
    }
    for container in living {
      guard let account = pool.account(container.nonce), account.standing == .joined else {
        fail("\(container.nonce) is no member")
        continue
      }
      if account.charged != container.kernel {
        fail("\(container.nonce) is charged \(account.charged), the kernel has \(container.kernel)")
      }
    }
    if pool.limit != limits.inForce, pool.accounts.reduce(0, { $0 + $1.floor }) <= pool.limit {
      let isStuck = pool.accounts.allSatisfy { $0.leftAloneUntil == .min }
      if isStuck { fail("\(pool.limit) is wanted, \(limits.inForce) in force") }
    }
    for container in living {
      guard let pod = container.pod, let group = pool.groups.byID[pods[pod].id] else { continue }
      if group.limit != pods[pod].limit { fail("pod \(pod) has \(pods[pod]), not \(group)") }
    }
    checkServed(pool)
    if resource == .cpu, scenario.countsUse, checks.greatest > 3 {
      fail("\(checks.greatest) periods' worth was used beyond the limit")
    }
  }

  /// Invariants 2 and 7, at rest: nothing is unused that somebody below its fair share could use.
  private func checkServed(_ pool: Pool) {
    guard pool.charged <= pool.limit else { return }
    let level = Self.fairLevel(pool.limit, pool.accounts)
    for account in pool.accounts {
      let due = min(account.reach, Self.bounded(account, level))
      // What could not be reclaimed cannot be given.
      let isPossible = resource == .cpu || pool.free > due - account.charged
      if account.charged + 2 * grain < due, isPossible {
        fail("\(account.nonce) has \(account.charged), and \(due) is due to it")
      }
    }
  }

  /// Invariant 3: what leaves is what joined.
  func checkAlone() {
    guard let holder = lockHolder, let pool = pool(of: holder) else { return }
    let own = containers[processes[holder].container]
    if pool.accounts.count != 1 || pool.charged != own.kernel {
      fail("\(pool.accounts.count) accounts, \(pool.charged) charged, \(own.kernel) held")
    }
    let expected = limits.explicit ?? min(own.declared, own.group?.limit ?? .max)
    if limits.inForce != expected { fail("\(limits.inForce) is in force, not \(expected)") }
  }
}
