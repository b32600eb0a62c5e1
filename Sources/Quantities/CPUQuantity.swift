// SPDX-License-Identifier: Apache-2.0

/// A number of CPUs as people write it: `2`, `0.5`, `500m`, a Kubernetes quantity in cores.
package struct CPUQuantity: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// What an error tells the writer to write.
  package static let accepted = "cores such as 2, 0.5 or 500m"

  /// Thousandths of a core.
  package let millicores: Int64

  /// Makes a quantity from thousandths of a core.
  package init(millicores: Int64) { self.millicores = millicores }

  /// Reads a Kubernetes quantity in cores.
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

  /// Orders by size.
  package static func < (a: CPUQuantity, b: CPUQuantity) -> Bool { a.millicores < b.millicores }

  /// The canonical spelling: whole cores as `2`, all else in millicores as `1500m`.
  package var description: String {
    let (cores, rest) = millicores.quotientAndRemainder(dividingBy: 1000)
    return rest == 0 ? "\(cores)" : "\(millicores)m"
  }
}
