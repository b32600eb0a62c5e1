// SPDX-License-Identifier: Apache-2.0

/// A CPU limit in nanocores: fine enough to hold any quota and period of CFS bandwidth control.
package struct CPUAmount: Comparable, Hashable, Sendable, CustomStringConvertible {
  /// The smallest limit that can be asked for: the smallest quota in a period of 100 ms.
  package static let smallest = CPUAmount(nanocores: 10_000_000)

  /// The least that a floor can be: the smallest quota in the longest period, a second.
  ///
  /// (kernel/sched/core.c, max_cfs_quota_period.) In a shorter one the kernel's least is more, and
  /// then that is the floor.
  package static let smallestFloor = CPUAmount(nanocores: 1_000_000)

  /// Billionths of a core.
  package let nanocores: Int64

  /// Makes a limit from billionths of a core.
  package init(nanocores: Int64) { self.nanocores = nanocores }

  /// What an error tells the writer to write.
  package static let accepted = "cores such as 2, 0.5 or 500m"

  /// Reads a Kubernetes quantity in cores: `2`, `0.5`, `500m`.
  ///
  /// - Throws: ``QuantityError`` for what is no quantity, is negative, is finer than a millicore,
  ///   does not fit an `Int64` of millicores, or has a suffix that counts bytes.
  package init(_ text: String) throws(QuantityError) {
    do throws(QuantityError.Problem) {
      let quantity = try Quantity(parsing: text)
      if quantity.isBinary { throw .memoryForCores }
      let (millicores, isExact) = try quantity.scaled(decimals: 3)
      if !isExact { throw .finerThanMillicore }
      self.init(millicores: millicores)
    } catch {
      throw QuantityError(error, accepted: Self.accepted)
    }
  }

  /// Makes a limit from thousandths of a core, at most `Int64.max` nanocores.
  package init(millicores: Int64) {
    let (product, overflowed) = millicores.multipliedReportingOverflow(by: 1_000_000)
    nanocores = overflowed ? .max : product
  }

  /// Orders by size.
  package static func < (a: CPUAmount, b: CPUAmount) -> Bool { a.nanocores < b.nanocores }

  /// As Kubernetes writes it, whole cores as `2` and millicores as `1500m`; else in cores with all
  /// its decimals: `0.333333334`.
  package var description: String {
    let (cores, rest) = nanocores.quotientAndRemainder(dividingBy: 1_000_000_000)
    if rest == 0 { return "\(cores)" }
    if rest % 1_000_000 == 0 { return "\(nanocores / 1_000_000)m" }
    var decimals = String(rest + 1_000_000_000).dropFirst()
    while decimals.hasSuffix("0") { decimals.removeLast() }
    return "\(cores).\(decimals)"
  }
}
