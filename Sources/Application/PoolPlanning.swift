// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// Who is granted what, and from whom it is recalled.
extension Pool {
  /// Grants what is free to those whose target is higher than what they hold, and recalls what is
  /// missing from those who hold more than theirs.
  ///
  /// First what they have above their fair share, in proportion, and never more than is needed.
  /// Taking everything back at once would leave nobody
  /// with anything to work with (koordinator-sh/koordinator, "cfsQuotaBurst" resetting all).
  mutating func plan(_ now: Nanoseconds, _ actions: inout [BrokerAction]) {
    guard isRecovered else { return }
    count()
    var left = max(0, limit - charged - rested)
    var missing: (poor: Int64, rich: Int64) = (0, 0)
    var excess: (rich: Int64, rest: Int64) = (0, 0)
    var crumbs: (rich: Int64, rest: Int64) = (0, 0)
    var coming: Int64 = 0
    for account in accounts where account.standing == .joined {
      if let recall = account.recall {
        // From a member that is being killed nothing comes.
        if !account.isFenced { coming += max(0, account.charged - recall.limit) }
        continue
      }
      let (fair, target) = (fair(account), target(account))
      if account.charged < target {
        guard isWorthwhile(account, target) else { continue }
        let poor = max(0, min(target, fair) - account.charged)
        missing.poor += poor
        missing.rich += target - account.charged - poor
      } else if isRecallable(account, target, crumbs: true) {
        let rich = account.charged - max(target, min(fair, account.charged))
        let rest = account.charged - target - rich
        if rich + rest >= parameters.grain {
          excess.rich += rich
          excess.rest += rest
        } else {
          crumbs.rich += rich
          crumbs.rest += rest
        }
      }
    }
    let over = max(0, charged - limit)
    if left > 0, missing.poor + missing.rich > 0 { grant(&left, &missing, &actions) }
    coming += recallBeyondGroups(now, &actions)
    let need = missing.poor + missing.rich + over - coming - rested - left
    // Crumbs are for those who have less than is due to them.
    let takesCrumbs = over > 0 || missing.poor > 0
    if takesCrumbs {
      excess.rich += crumbs.rich
      excess.rest += crumbs.rest
    }
    guard need > 0, excess.rich + excess.rest > 0 else { return }
    recall(need, excess, crumbs: takesCrumbs, now, &actions)
  }

  /// Every change of what one could use moves everybody's target a little, and each grant is a
  /// message and a write: only what brings a grain, or all that is wanted, is one.
  private func isWorthwhile(_ account: Account, _ target: Int64) -> Bool {
    target - account.charged >= parameters.grain || target == account.reach
      || account.charged < account.floor
  }

  private func isRecallable(_ account: Account, _ target: Int64, crumbs: Bool) -> Bool {
    account.recall == nil && account.leftAloneUntil == .min && account.charged > target
      && (crumbs || account.charged - target >= parameters.grain)
  }

  private mutating func count() {
    var (available, needs) = (limit - fixed, 0 as Int64)
    for account in accounts where account.standing == .joined { needs += account.own }
    let fits = needs <= available
    if fits != needsFit {
      needsFit = fits
      sharesAreStale = true
    }
    available -= fits ? needs : 0
    if sharesAreStale || shares.limit != available {
      shares.level(
        available,
        accounts.lazy.filter { $0.standing == .joined }
          .map { $0.share(beyond: fits ? $0.own : 0) })
      sharesAreStale = false
    }
    shares.begin()
    for account in accounts where account.standing == .joined {
      shares.count(account.share(beyond: own(account)))
    }
    shares.divide()
  }

  /// What a member has in use is not divided.
  ///
  /// What they keep ahead is.
  private func own(_ account: Account) -> Int64 { needsFit ? account.own : 0 }

  private func fair(_ account: Account) -> Int64 {
    own(account) + shares.fair(account.share(beyond: own(account)))
  }

  private func target(_ account: Account) -> Int64 {
    own(account) + shares.target(account.share(beyond: own(account)))
  }

  /// Grants what is free, and takes what was granted off what is missing: what is due first, and
  /// only when nobody misses that any more, the rest.
  private mutating func grant(
    _ left: inout Int64, _ missing: inout (poor: Int64, rich: Int64),
    _ actions: inout [BrokerAction]
  ) {
    turn = turn &+ 1
    let servesPoorFirst = rules.contains(.servesPoorFirst)
    for isPoorsTurn in servesPoorFirst ? [true, false] : [false, true] {
      let whole = isPoorsTurn ? missing.poor : missing.rich
      let part = min(left, whole)
      if part <= 0 || (!isPoorsTurn && servesPoorFirst && missing.poor > 0) { continue }
      for place in accounts.indices where left > 0 {
        let index = (place + turn) % accounts.count
        let account = accounts[index]
        guard account.isWaiting, account.recall == nil else { continue }
        let target = target(account)
        guard target > account.charged, isWorthwhile(account, target) else { continue }
        let poor = max(0, min(target, fair(account)) - account.charged)
        let due = isPoorsTurn ? poor : target - account.charged - poor
        // What cannot be divided goes to one after the other.
        let least = min(due, parameters.grain)
        let given = min(left, max(least, Proportion.part(due, part, of: whole)))
        guard given > 0, given >= least else { continue }
        change(index) {
          $0.charged += given
          $0.isGranted = true
        }
        if isPoorsTurn { missing.poor -= given } else { missing.rich -= given }
        left -= given
      }
    }
    for index in accounts.indices where accounts[index].isGranted {
      accounts[index].isGranted = false
      tell(index, .grant(limit: accounts[index].charged), &actions)
    }
  }

  /// Recalls in proportion where that is a grain each, and from one after the other where it is
  /// less: what is missing is a message to a few, not to everybody.
  private mutating func recall(
    _ need: Int64, _ excess: (rich: Int64, rest: Int64), crumbs: Bool, _ now: Nanoseconds,
    _ actions: inout [BrokerAction]
  ) {
    let fromRich = min(need, excess.rich)
    let fromRest = min(need - fromRich, excess.rest)
    var left = need
    for isProportional in [true, false] {
      for place in accounts.indices where left > 0 {
        let index = (place + turn) % accounts.count
        let account = accounts[index]
        guard account.standing == .joined else { continue }
        let target = target(account)
        guard isRecallable(account, target, crumbs: crumbs) else { continue }
        let rich = account.charged - max(target, min(fair(account), account.charged))
        let rest = account.charged - target - rich
        var taken = Proportion.part(rich, fromRich, of: excess.rich, roundingUp: true)
        if fromRest > 0 {
          taken += Proportion.part(rest, fromRest, of: excess.rest, roundingUp: true)
        }
        if isProportional, taken < parameters.grain { continue }
        if fromRest == 0, rich == 0 { continue }
        taken = max(taken, min(parameters.grain, rich + rest))
        left -= taken
        recall(taken, from: index, now, &actions)
      }
    }
  }

  private mutating func recall(
    _ amount: Int64, from index: Int, _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) {
    let account = accounts[index]
    let limit = account.charged - amount
    let number = account.sequence + 1
    accounts[index].recall = (limit, number, now + parameters.recallTime)
    recalls.append((account.nonce, number), at: now + parameters.recallTime)
    tell(index, .recall(limit: limit), &actions)
  }

  // MARK: groups that bound several members

  /// Divides the limit of each group that is short among its members, by the rules that divide the
  /// application's.
  mutating func boundGroups() {
    guard groups.areStale else { return }
    for id in groups.bounding { bound(id) }
    groups.settle()
  }

  private mutating func bound(_ id: UInt64) {
    guard let sums = groups.byID[id] else { return }
    var (left, needs): (Int64, Int64) = (sums.limit, 0)
    var members: [(index: Int, account: Account)] = []
    for (index, account) in accounts.enumerated() where account.group == id {
      guard account.standing == .joined else {
        left -= account.charged
        continue
      }
      var account = account
      account.bound = .max
      needs += account.own
      members.append((index, account))
    }
    let fits = needs <= left
    func own(_ account: Account) -> Int64 { fits ? account.own : 0 }
    var shares = FairShares()
    shares.level(
      left - (fits ? needs : 0), members.lazy.map { $0.account.share(beyond: own($0.account)) })
    shares.begin()
    for (_, account) in members { shares.count(account.share(beyond: own(account))) }
    shares.divide()
    for (index, account) in members {
      let own = own(account)
      let bound = sums.isShort ? own + shares.target(account.share(beyond: own)) : .max
      if bound != accounts[index].bound { change(index) { $0.bound = bound } }
    }
  }

  /// Recalls what members of a group hold together beyond its limit, where they cannot use it.
  ///
  /// - Returns: How much that is.
  private mutating func recallBeyondGroups(
    _ now: Nanoseconds, _ actions: inout [BrokerAction]
  ) -> Int64 {
    var recalled: Int64 = 0
    for id in groups.bounding {
      guard let sums = groups.byID[id] else { continue }
      var over = -sums.limit
      for account in accounts where account.group == id {
        over += min(account.charged, account.recall?.limit ?? .max)
      }
      for index in accounts.indices where over >= parameters.grain {
        let account = accounts[index]
        guard account.group == id, account.standing == .joined else { continue }
        let target = target(account)
        guard isRecallable(account, target, crumbs: false) else { continue }
        let taken = min(over, account.charged - target)
        over -= taken
        recalled += taken
        recall(taken, from: index, now, &actions)
      }
    }
    return recalled
  }
}
