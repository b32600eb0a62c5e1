// SPDX-License-Identifier: Apache-2.0

/// Who gets what of a limit: pure arithmetic over what members may and could use.
///
/// The *fair share* of a member is the same for all, but never below its floor nor above its
/// ceiling, and together they are the limit. Up to its fair share each member gets what it could
/// use. What others leave goes to those who could use more: the higher priority first, and within
/// one in proportion to what is missing.
struct FairShares {
  /// What a member may and could use.
  struct Member {
    var floor: Int64
    var ceiling: Int64
    var wanted: Int64
    var priority: Int32
  }

  /// What there is.
  private(set) var limit: Int64 = 0
  private var level: Int64 = 0
  private var rest: Int64 = 0
  private var extras: [(priority: Int32, sum: Int64)] = []
  /// The priority at which the rest runs out, and how much of how much it gets.
  private var cut: (priority: Int32, part: Int64, whole: Int64)?

  /// Sets the fair level: the share of a member that is bounded by nothing.
  ///
  /// - Parameters:
  ///   - limit: What there is.
  ///   - members: Their bounds.
  mutating func level(_ limit: Int64, _ members: some Sequence<Member>) {
    self.limit = limit
    var (low, high): (Int64, Int64) = (0, 0)
    for member in members { high = max(high, member.ceiling) }
    high = min(high, max(limit, 0))
    // The greatest level that fits.
    while low < high {
      let middle = low + (high - low + 1) / 2
      var sum: Int64 = 0
      for member in members { sum += Self.bounded(member, middle) }
      if sum <= limit { low = middle } else { high = middle - 1 }
    }
    level = low
  }

  private static func bounded(_ member: Member, _ level: Int64) -> Int64 {
    max(member.floor, min(member.ceiling, level))
  }

  /// What is due to a member whatever the others want.
  func fair(_ member: Member) -> Int64 { Self.bounded(member, level) }

  private func base(_ member: Member) -> Int64 {
    max(member.floor, min(member.wanted, fair(member)))
  }

  /// Starts counting what is wanted.
  mutating func begin() {
    rest = limit
    extras.removeAll(keepingCapacity: true)
    cut = nil
  }

  /// Counts a member.
  mutating func count(_ member: Member) {
    let base = base(member)
    rest -= base
    let extra = member.wanted - base
    guard extra > 0 else { return }
    if let index = extras.firstIndex(where: { $0.priority == member.priority }) {
      extras[index].sum += extra
    } else {
      extras.append((member.priority, extra))
    }
  }

  /// Divides what is left.
  mutating func divide() {
    extras.sort { $0.priority > $1.priority }
    for (priority, sum) in extras {
      if sum > rest {
        cut = (priority, max(0, rest), sum)
        return
      }
      rest -= sum
    }
  }

  /// What a member shall have.
  func target(_ member: Member) -> Int64 {
    let base = base(member)
    let extra = max(0, member.wanted - base)
    guard let cut, member.priority <= cut.priority else { return base + extra }
    return member.priority < cut.priority
      ? base : base + Proportion.part(extra, cut.part, of: cut.whole)
  }
}

/// Products that may be wider than a word.
package enum Proportion {
  /// `amount * part / whole`, for numbers that are not negative and `part <= whole`.
  package static func part(
    _ amount: Int64, _ part: Int64, of whole: Int64, roundingUp: Bool = false
  ) -> Int64 {
    guard whole > 0, part < whole else { return amount }
    let product = amount.multipliedFullWidth(by: part)
    let (quotient, remainder) = whole.dividingFullWidth(product)
    return roundingUp && remainder > 0 ? quotient + 1 : quotient
  }
}
