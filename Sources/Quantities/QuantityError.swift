// SPDX-License-Identifier: Apache-2.0

/// A quantity that was refused: what is wrong with it, and what is accepted instead.
///
/// The description is the second half of a sentence; the caller, which knows where the quantity
/// stood, puts the name and the value in front of it.
package struct QuantityError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong with the quantity.
  package enum Problem: String, Error, Sendable {
    /// Nothing is written.
    case empty = "is empty"
    /// It is below zero.
    case negative = "is negative"
    /// It does not follow the grammar.
    case malformed = "is no quantity"
    /// It does not fit 63 bits of the unit.
    case tooLarge = "is too large"
    /// Its fraction does not fit 64 bits.
    case tooPrecise = "has too many digits"
    /// A part of a millicore, which no consumer of the quantity could honour.
    case finerThanMillicore = "is finer than 1m, a thousandth of a core"
    /// A number of cores with the suffix Ki, Mi and the like: memory in the place of CPU.
    case memoryForCores = "is an amount of memory"
    /// A number of bytes with the suffix n, u or m.
    case partOfByte = "is in parts of a byte"
    /// Less CPU than the kernel's smallest quota in a period of 100 ms.
    case belowSmallestQuota = "is below 10m, the least that the kernel enforces"
    /// Less CPU than the kernel's smallest quota in its longest period, a second.
    case belowSmallestFloor = "is below 1m, the least that the kernel enforces"
    /// No memory at all, in which nothing can run.
    case noMemory = "is nothing at all"
  }

  /// What is wrong.
  package let problem: Problem
  /// What to write, as an example.
  package let accepted: String

  /// Makes an error from its parts.
  package init(_ problem: Problem, accepted: String) {
    self.problem = problem
    self.accepted = accepted
  }

  /// "is negative; write cores such as 2, 0.5 or 500m".
  package var description: String { "\(problem.rawValue); write \(accepted)" }
}
