// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// The limit of a group that has containers in it, as its file has it.
///
/// A number for a scale, so that one type serves both resources: microseconds of CPU for a period,
/// and bytes for a thousand million, which makes an *amount* nanocores or bytes.
package struct ParentValue: Equatable, Sendable {
  /// Microseconds or bytes; nil for no limit.
  package var value: Int64?
  /// The period in microseconds; ``bytes`` for memory.
  package var scale: Int64

  /// The scale of memory.
  package static let bytes: Int64 = 1_000_000_000

  /// Makes a value from its parts.
  package init(_ value: Int64?, scale: Int64) {
    self.value = value
    self.scale = scale
  }

  /// Nanocores or bytes, rounded up; nil for no limit.
  package var amount: Int64? {
    value.map { CFSBandwidth.scaled($0, by: Self.bytes, over: scale, roundingUp: true) }
  }

  /// The least value that an amount fits below.
  func value(of amount: Int64) -> Int64 {
    CFSBandwidth.scaled(amount, by: scale, over: Self.bytes, roundingUp: true)
  }

  private var isMemory: Bool { scale == Self.bytes }

  /// The value that is written for an amount above what was found.
  ///
  /// It is never one that a kubelet would write, which counts in thousandths of a CPU and, in
  /// practice, whole mebibytes. So its writes are told from ours, also where it means the same.
  func raised(to amount: Int64) -> Int64 {
    let exact = value(of: amount)
    // The kernel counts memory in pages, of at most 64 KiB.
    let (grain, round) = isMemory ? (Int64(64 << 10), Int64(1 << 20)) : (1, max(1, scale / 1000))
    let whole = exact > .max - 2 * round ? exact : (exact + grain - 1) / grain * grain
    return whole % round == 0 ? whole + grain : whole
  }
}

/// What is written down of a parent's limit: a pure function of it says what the limit shall be.
///
/// A pod's limit is raised by what its containers hold above what they declare. Each container that
/// may make a difference is registered, for as long as its instance is there; with the last of them
/// what was found is back.
package struct ParentAccount: Equatable, Sendable {
  /// A container that is registered.
  package struct Hold: Equatable, Sendable {
    /// Its instance's nonce.
    package var nonce: UInt64
    /// What it holds, or is about to hold, above what it declares.
    package var excess: Int64 = 0

    /// Makes a hold from its parts.
    package init(nonce: UInt64, excess: Int64 = 0) {
      self.nonce = nonce
      self.excess = excess
    }
  }

  /// What the maker of the group wants it to have.
  package var found: ParentValue
  /// What was written last, and what a process is about to write; ``nothing`` for neither.
  package var written = ParentAccount.nothing
  /// The value that is about to be written; ``nothing`` for none.
  package var writing = ParentAccount.nothing
  /// The containers that are registered, each at its place; a nonce of 0 is a place that is free.
  package var holds: [Hold] = []

  /// No value has been written.
  package static let nothing: Int64 = -2
  /// A value that stands for no limit.
  package static let unlimited: Int64 = -1

  /// Makes an account of a limit that nothing is held above.
  package init(found: ParentValue) { self.found = found }

  /// Takes note of what the kernel has: what is not ours is what its maker wants by now.
  ///
  /// - Returns: Whether it was news.
  package mutating func see(_ kernel: ParentValue) -> Bool {
    let value = kernel.value ?? Self.unlimited
    let isKnown = kernel.value == found.value || value == written || value == writing
    if isKnown, kernel.scale == found.scale { return false }
    // A process that writes another period (v1 has a file for it) writes the quota next.
    found = ParentValue(isKnown ? found.value : kernel.value, scale: kernel.scale)
    if !isKnown { (written, writing) = (Self.nothing, Self.nothing) }
    return true
  }

  /// What the limit shall be: what was found, where no container holds anything above that.
  package var target: ParentValue {
    var target = found
    var sum: Int64 = 0
    for hold in holds where hold.nonce != 0 {
      let (next, isTooMuch) = sum.addingReportingOverflow(max(0, hold.excess))
      sum = isTooMuch ? .max : next
    }
    if sum > 0, let amount = found.amount {
      let (wanted, isTooMuch) = amount.addingReportingOverflow(sum)
      target.value = found.raised(to: isTooMuch ? .max : wanted)
    }
    return target
  }

  /// Whether no container is registered any more.
  package var isUnused: Bool {
    for hold in holds where hold.nonce != 0 { return false }
    return true
  }

  /// Where a container is registered; nil where it is not.
  package func place(of nonce: UInt64) -> Int? {
    for place in holds.indices where holds[place].nonce == nonce { return place }
    return nil
  }
}
