// SPDX-License-Identifier: Apache-2.0

/// Events in the order of their time, and of their arrival where that is the same: a binary heap.
///
/// Times are nanoseconds. It is public because the compiler specialises no `package` declaration for
/// another module, and unspecialised a simulation takes twice as long.
public struct EventQueue<Event> {
  @usableFromInline var items: [(time: Int64, order: UInt64, event: Event)] = []
  @usableFromInline var order: UInt64 = 0

  /// Makes an empty queue.
  @inlinable public init() {}

  /// Whether there is no event.
  @inlinable public var isEmpty: Bool { items.isEmpty }

  /// Adds an event.
  @inlinable public mutating func push(_ event: Event, at time: Int64) {
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

  /// Removes the next event; nil if there is none.
  @inlinable public mutating func pop() -> (time: Int64, event: Event)? {
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

  @inlinable func isBefore(_ a: Int, _ b: Int) -> Bool {
    (items[a].time, items[a].order) < (items[b].time, items[b].order)
  }
}
