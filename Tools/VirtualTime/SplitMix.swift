// SPDX-License-Identifier: Apache-2.0

/// SplitMix64: the same values in every run.
public struct SplitMix: RandomNumberGenerator {
  @usableFromInline var state: UInt64

  /// Makes a generator; equal seeds give equal values.
  @inlinable public init(seed: UInt64) { state = seed }

  /// The next 64 bits.
  @inlinable public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  /// True one time in `count`.
  @inlinable public mutating func oneIn(_ count: Int) -> Bool {
    Int.random(in: 0..<count, using: &self) == 0
  }

  /// Any value of a range, each as likely.
  @inlinable public mutating func among(_ range: ClosedRange<Int64>) -> Int64 {
    Int64.random(in: range, using: &self)
  }

  /// A time in nanoseconds, of which the short ones are as likely as the long ones.
  @inlinable public mutating func time(_ range: ClosedRange<Int64>) -> Int64 {
    var high = range.upperBound
    while high / 4 > range.lowerBound, Bool.random(using: &self) { high /= 4 }
    return among(range.lowerBound...max(range.lowerBound, high))
  }
}
