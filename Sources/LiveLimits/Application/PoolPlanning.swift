// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// Who is granted what, and from whom it is recalled.
extension Pool {
  /// Grants what is free to those whose target is higher than what they hold, and recalls what is
  /// missing from those who hold more than theirs: first what they have above their fair share, in
  /// proportion, and never more than is needed. Taking everything back at once would leave nobody
  /// with anything to work with (koordinator-sh/koordinator, "cfsQuotaBurst" resetting all).
  mutating func plan(_ now: Nanoseconds, _ actions: inout [BrokerAction]) {
    guard isRecovered else { return }
    count()
    var left = max(0, limit - charged - rested)
    let isOver = charged > limit
    var missing: (poor: Int64, rich: Int64) = (0, 0)
    var excess: (rich: Int64, rest: Int64) = (0, 0)
    var coming: Int64 = 0
    for account in accounts where account.standing == .joined {
      if let recall = account.recall {
        // From a member that is being killed nothing comes.
        if !account.isFenced { coming += max(0, account.charged - recall.limit) }
        continue
      }
      let share = account.share
      let (fair, target) = (shares.fair(share), shares.target(share))
      if account.charged < target {
        let poor = max(0, min(target, fair) - account.charged)
        missing.poor += poor
        missing.rich += target - account.charged - poor
      } else if account.charged > target, account.leftAloneUntil == .min {
        let rich = account.charged - max(target, min(fair, account.charged))
        excess.rich += rich
        excess.rest += account.charged - target - rich
      }
    }
    let over = max(0, charged - limit)
    if left > 0, missing.poor + missing.rich > 0 { grant(&left, &missing, &actions) }
    let need = missing.poor + missing.rich + over - coming - rested - left
    guard need > 0, excess.rich + excess.rest > 0, isOver || missing.poor + missing.rich > 0 else {
      return
    }
    recall(need, excess, now, &actions)
  }

  private mutating func count() {
    let available = limit - fixed
    if sharesAreStale || shares.limit != available {
      shares.level(
        available, accounts.lazy.filter { $0.standing == .joined }.map { $0.share })
      sharesAreStale = false
    }
    shares.begin()
    for account in accounts where account.standing == .joined { shares.count(account.share) }
    shares.divide()
  }

  /// Grants what is free, and takes what was granted off what is missing.
  private mutating func grant(
    _ left: inout Int64, _ missing: inout (poor: Int64, rich: Int64),
    _ actions: inout [BrokerAction]
  ) {
    var forPoor = min(left, missing.poor)
    var forRich = min(left - forPoor, missing.rich)
    if !rules.contains(.servesPoorFirst) {
      forRich = min(left, missing.rich)
      forPoor = min(left - forRich, missing.poor)
    }
    let (parts, wholes) = ((poor: forPoor, rich: forRich), missing)
    turn = turn &+ 1
    for place in accounts.indices {
      let index = (place + turn) % accounts.count
      let account = accounts[index]
      guard account.isWaiting, account.recall == nil else { continue }
      let share = account.share
      let target = shares.target(share)
      guard target > account.charged else { continue }
      let poor = max(0, min(target, shares.fair(share)) - account.charged)
      let rich = target - account.charged - poor
      var given =
        (poor > 0 ? Proportion.part(poor, parts.poor, of: wholes.poor) : 0)
        + (rich > 0 ? Proportion.part(rich, parts.rich, of: wholes.rich) : 0)
      let least = min(target - account.charged, parameters.grain)
      // What cannot be divided goes to one after the other.
      if given < least, left >= least, poor > 0 || missing.poor == 0 { given = least }
      given = min(given, left)
      guard given > 0, given >= least else { continue }
      change(index) { $0.charged += given }
      missing.poor -= min(given, poor)
      missing.rich -= max(0, given - poor)
      left -= given
      tell(index, .grant(limit: accounts[index].charged), &actions)
    }
  }

  private mutating func recall(
    _ need: Int64, _ excess: (rich: Int64, rest: Int64), _ now: Nanoseconds,
    _ actions: inout [BrokerAction]
  ) {
    let fromRich = min(need, excess.rich)
    let fromRest = min(need - fromRich, excess.rest)
    for index in accounts.indices {
      let account = accounts[index]
      guard account.standing == .joined, account.recall == nil, account.leftAloneUntil == .min
      else { continue }
      let share = account.share
      let target = shares.target(share)
      guard account.charged > target else { continue }
      let rich = account.charged - max(target, min(shares.fair(share), account.charged))
      let rest = account.charged - target - rich
      var taken: Int64 = 0
      if rich > 0 {
        taken += Proportion.part(rich, fromRich, of: excess.rich, roundingUp: true)
      }
      if rest > 0, fromRest > 0 {
        taken += Proportion.part(rest, fromRest, of: excess.rest, roundingUp: true)
      }
      guard taken > 0 else { continue }
      let limit = account.charged - max(taken, min(parameters.grain, rich + rest))
      accounts[index].recall = (
        limit, account.sequence + 1, now + parameters.recallTime
      )
      recalls.append(
        (account.nonce, account.sequence + 1), at: now + parameters.recallTime)
      tell(index, .recall(limit: limit), &actions)
    }
  }
}
