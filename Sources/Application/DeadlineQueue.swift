// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// Moments that all lie equally far ahead when they are added, and so come in order: the next one
/// costs nothing to know, however many there are.
struct DeadlineQueue<Element: Sendable>: Sendable {
  private var items: [(moment: Nanoseconds, element: Element)] = []
  private var head = 0

  /// The next moment.
  var first: (moment: Nanoseconds, element: Element)? {
    head < items.count ? items[head] : nil
  }

  /// Adds a moment that is not before the last one.
  mutating func append(_ element: Element, at moment: Nanoseconds) {
    items.append((max(moment, items.last?.moment ?? .min), element))
  }

  /// Forgets the next moment.
  mutating func removeFirst() {
    head += 1
    guard head == items.count || head > 1024 else { return }
    items.removeFirst(head)
    head = 0
  }
}
