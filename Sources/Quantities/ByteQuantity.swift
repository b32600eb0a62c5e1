// SPDX-License-Identifier: Apache-2.0

/// An amount of memory as people write it: `512Mi`, `1.5Gi`, `100M`, `1048576`, a Kubernetes
/// quantity in bytes.
package struct ByteQuantity: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// What an error tells the writer to write.
  package static let accepted = "bytes such as 512Mi, 1.5Gi, 100M or 1048576"

  /// The unit that the memory controller counts in (mm/page_counter.c), in bytes.
  package static let pageSize: Int64 = 4096

  /// The number of bytes.
  package let bytes: Int64

  /// Makes a quantity from a number of bytes.
  package init(bytes: Int64) { self.bytes = bytes }

  /// Reads a Kubernetes quantity in bytes; a fraction of a byte is rounded up.
  ///
  /// The suffix `m` is refused although the grammar has it: 512m is half a byte, and a user who
  /// writes it comes from Docker, where it is 512 MiB.
  ///
  /// - Throws: ``QuantityError`` for what is no quantity, is negative, is in parts of a byte or
  ///   does not fit an `Int64`.
  package init(_ text: String) throws(QuantityError) {
    do throws(QuantityError.Problem) {
      let quantity = try Quantity(parsing: text)
      if quantity.isPartOfUnit { throw .partOfByte }
      self.init(bytes: try quantity.scaled(decimals: 0).value)
    } catch {
      throw QuantityError(error, accepted: Self.accepted)
    }
  }

  /// The next whole number of pages, because the kernel rounds a limit down to one.
  package var roundedUpToPages: ByteQuantity {
    let (sum, overflowed) = bytes.addingReportingOverflow(Self.pageSize - 1)
    return ByteQuantity(bytes: (overflowed ? .max : sum) & ~(Self.pageSize - 1))
  }

  /// Orders by size.
  package static func < (a: ByteQuantity, b: ByteQuantity) -> Bool { a.bytes < b.bytes }

  /// The shortest exact spelling: the largest binary unit that divides it, else a decimal one.
  package var description: String {
    if bytes == 0 { return "0" }
    return spelled(1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
      ?? spelled(1000, ["", "k", "M", "G", "T", "P", "E"]) ?? "\(bytes)"
  }

  private func spelled(_ step: Int64, _ units: [String]) -> String? {
    var value = bytes
    var unit = 0
    while unit + 1 < units.count && value % step == 0 {
      value /= step
      unit += 1
    }
    return unit == 0 ? nil : "\(value)\(units[unit])"
  }
}
