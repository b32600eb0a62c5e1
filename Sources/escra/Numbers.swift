// SPDX-License-Identifier: Apache-2.0

/// A number with exactly so many decimals: 0.05 to two is "0.05".
///
/// - Parameters:
///   - value: Any number; one whose digits do not fit 64 bits is cut there, NaN is 0.
///   - places: Decimals, at most 9.
/// - Returns: Digits, in no locale.
func fixed(_ value: Double, _ places: Int) -> String {
  var unit: Int64 = 1
  for _ in 0..<places { unit *= 10 }
  let most = 9e18 / Double(unit)
  let bounded = value.isNaN ? 0 : min(max(value, -most), most)
  let scaled = Int64((bounded * Double(unit)).rounded())
  let whole = scaled.magnitude / UInt64(unit)
  let sign = scaled < 0 ? "-" : ""
  guard places > 0 else { return "\(sign)\(whole)" }
  return "\(sign)\(whole)." + padded(scaled.magnitude % UInt64(unit), places)
}

/// A number with at most so many decimals and no zero at the end: 0.050 is "0.05", 1.000 is "1".
func trimmed(_ value: Double, _ places: Int) -> String {
  var text = fixed(value, places)
  guard text.utf8.contains(UInt8(ascii: ".")) else { return text }
  while text.utf8.last == UInt8(ascii: "0") { text.removeLast() }
  if text.utf8.last == UInt8(ascii: ".") { text.removeLast() }
  return text == "-0" ? "0" : text
}

/// A number with zeros in front, at least `digits` wide.
func padded(_ value: some BinaryInteger, _ digits: Int) -> String {
  let text = String(value)
  return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}

/// CPUs as people read them: "0.05".
func cores(_ value: Double) -> String { fixed(value, 2) }

/// Bytes in the notation of annotations: "512Mi", "1.5Gi", "100".
func bytes(_ value: Int64) -> String {
  var amount = Double(value)
  var unit = ""
  for next in ["Ki", "Mi", "Gi", "Ti"] where amount >= 1024 {
    amount /= 1024
    unit = next
  }
  return trimmed(amount, 1) + unit
}
