// SPDX-License-Identifier: Apache-2.0

/// A Kubernetes quantity before it has a unit: mantissa x 10^decimalExponent x 2^binaryExponent.
///
/// The grammar is `k8s.io/apimachinery/pkg/api/resource/quantity.go`: digits with at most one
/// point, then nothing, a decimal suffix (n u m k M G T P E), a binary one (Ki Mi Gi Ti Pi Ei) or
/// an exponent (`1e3`, `1E3`). Everything stays an integer: a limit that went through a Double
/// would not come back as the number that was written.
struct Quantity {
  private var mantissa: UInt64 = 0
  private var decimalExponent = 0
  private var binaryExponent = 0

  /// Whether the suffix was Ki, Mi and the like, which count bytes.
  var isBinary: Bool { binaryExponent > 0 }

  /// Whether the suffix was n, u or m: parts of the unit.
  private(set) var isPartOfUnit = false

  init(parsing text: String) throws(QuantityError.Problem) {
    var rest = text.utf8[...]
    if rest.isEmpty { throw .empty }
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    try takeNumber(&rest)
    try takeSuffix(Substring(rest))
    if isNegative && mantissa > 0 { throw .negative }
  }

  private mutating func takeNumber(_ rest: inout Substring.UTF8View) throws(QuantityError.Problem) {
    var hasDigits = false
    var hasPoint = false
    var zeros = 0  // of the fraction, not yet known to be followed by another digit
    while let byte = rest.first {
      if byte == UInt8(ascii: ".") && !hasPoint {
        hasPoint = true
      } else if byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") {
        let digit = UInt64(byte - UInt8(ascii: "0"))
        hasDigits = true
        if hasPoint && digit == 0 {
          zeros += 1
        } else {
          for _ in 0..<zeros { try append(0, isFraction: true) }
          try append(digit, isFraction: hasPoint)
          zeros = 0
        }
      } else {
        break
      }
      rest.removeFirst()
    }
    if !hasDigits { throw .malformed }
  }

  private mutating func append(
    _ digit: UInt64, isFraction: Bool
  ) throws(QuantityError.Problem) {
    let (tenfold, overflowed) = mantissa.multipliedReportingOverflow(by: 10)
    let (sum, carried) = tenfold.addingReportingOverflow(digit)
    if overflowed || carried { throw isFraction ? .tooPrecise : .tooLarge }
    mantissa = sum
    if isFraction { decimalExponent -= 1 }
  }

  private mutating func takeSuffix(_ suffix: Substring) throws(QuantityError.Problem) {
    switch suffix {
    case "": break
    case "n": takePart(-9)
    case "u": takePart(-6)
    case "m": takePart(-3)
    case "k": decimalExponent += 3
    case "M": decimalExponent += 6
    case "G": decimalExponent += 9
    case "T": decimalExponent += 12
    case "P": decimalExponent += 15
    case "E": decimalExponent += 18
    case "Ki": binaryExponent = 10
    case "Mi": binaryExponent = 20
    case "Gi": binaryExponent = 30
    case "Ti": binaryExponent = 40
    case "Pi": binaryExponent = 50
    case "Ei": binaryExponent = 60
    default:
      guard suffix.hasPrefix("e") || suffix.hasPrefix("E"),
        let exponent = Int(suffix.dropFirst())
      else { throw .malformed }
      // Past a thousand either way nothing changes: too large, or next to nothing.
      decimalExponent += min(max(exponent, -1000), 1000)
    }
  }

  /// The quantity x 10^`decimals`, rounded up, and whether it needed no rounding.
  func scaled(decimals: Int) throws(QuantityError.Problem) -> (value: Int64, isExact: Bool) {
    // 64 bits shifted by at most 60 fit, and so does ten times what fits an Int64.
    var value = UInt128(mantissa) << binaryExponent
    var exponent = decimalExponent + decimals
    var isExact = true
    while exponent > 0 && value > 0 {
      if value > UInt128(Int64.max) { throw .tooLarge }
      value *= 10
      exponent -= 1
    }
    while exponent < 0 && value > 0 {
      let (quotient, remainder) = value.quotientAndRemainder(dividingBy: 10)
      if remainder > 0 { isExact = false }
      value = remainder > 0 ? quotient + 1 : quotient
      exponent += 1
    }
    guard let result = Int64(exactly: value) else { throw .tooLarge }
    return (result, isExact)
  }

  private mutating func takePart(_ exponent: Int) {
    decimalExponent += exponent
    isPartOfUnit = true
  }
}
