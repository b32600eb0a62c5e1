// SPDX-License-Identifier: Apache-2.0
import Quantities

/// Events in the order of their time, and of their arrival where that is the same: a binary heap.
struct EventQueue<Event> {
  private var items: [(time: Nanoseconds, order: UInt64, event: Event)] = []
  private var order: UInt64 = 0

  var isEmpty: Bool { items.isEmpty }

  mutating func push(_ event: Event, at time: Nanoseconds) {
    order += 1
    items.append((time, order, event))
    var child = items.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard isBefore(child, parent) else { break }
      items.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> (time: Nanoseconds, event: Event)? {
    guard let first = items.first, let last = items.popLast() else { return nil }
    guard !items.isEmpty else { return (first.time, first.event) }
    items[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < items.count && isBefore(child, least) {
        least = child
      }
      if least == parent { break }
      items.swapAt(parent, least)
      parent = least
    }
    return (first.time, first.event)
  }

  private func isBefore(_ a: Int, _ b: Int) -> Bool {
    (items[a].time, items[a].order) < (items[b].time, items[b].order)
  }
}

/// SplitMix64: the same values in every run.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  /// One in so many.
  mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }

  mutating func among(_ range: ClosedRange<Int64>) -> Int64 {
    Int64.random(in: range, using: &self)
  }

  /// A time of which the short ones are as likely as the long ones.
  mutating func time(_ range: ClosedRange<Nanoseconds>) -> Nanoseconds {
    var high = range.upperBound
    while high / 4 > range.lowerBound, Bool.random(using: &self) { high /= 4 }
    return among(range.lowerBound...max(range.lowerBound, high))
  }
}
