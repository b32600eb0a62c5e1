// SPDX-License-Identifier: Apache-2.0

/// When a certificate ends: the notAfter of the first one in a PEM file (RFC 5280, 4.1.2.5).
enum CertificateEnd {
  /// Reads a file's text.
  ///
  /// - Returns: Seconds since 1970; nil where there is no certificate that can be read.
  static func of(pem text: String) -> Int64? {
    let lines = text.split { $0 == "\n" || $0 == "\r" || $0 == "\r\n" }
    guard let first = lines.firstIndex(of: "-----BEGIN CERTIFICATE-----"),
      let last = lines[first...].firstIndex(of: "-----END CERTIFICATE-----"),
      let bytes = Base64.decode(lines[(first + 1)..<last].joined())
    else { return nil }
    return of(der: bytes)
  }

  /// Certificate, then TBSCertificate: version, serial number, signature, issuer, validity.
  private static func of(der bytes: [UInt8]) -> Int64? {
    var reader = DERReader(bytes[...])
    guard let certificate = reader.next(0x30) else { return nil }
    reader = DERReader(certificate)
    guard let body = reader.next(0x30) else { return nil }
    reader = DERReader(body)
    // The version is left out of version 1.
    if reader.tag == 0xa0 { _ = reader.next(0xa0) }
    guard reader.next(0x02) != nil, reader.next(0x30) != nil, reader.next(0x30) != nil,
      let validity = reader.next(0x30)
    else { return nil }
    reader = DERReader(validity)
    guard let tag = reader.tag, reader.next(tag) != nil, let kind = reader.tag,
      let end = reader.next(kind)
    else { return nil }
    return seconds(String(decoding: end, as: UTF8.self), hasCentury: kind == 0x18)
  }

  /// "261201120000Z", or "20501201120000Z" of a GeneralizedTime.
  private static func seconds(_ text: String, hasCentury: Bool) -> Int64? {
    let digits = text.utf8.dropLast().map { Int64($0) - 48 }
    guard digits.count == (hasCentury ? 14 : 12), text.utf8.last == UInt8(ascii: "Z"),
      digits.allSatisfy({ (0...9).contains($0) })
    else { return nil }
    func number(_ place: Int) -> Int64 { digits[place] * 10 + digits[place + 1] }
    let start = hasCentury ? 2 : 0
    let short = number(start)
    let year = hasCentury ? number(0) * 100 + short : short < 50 ? 2000 + short : 1900 + short
    let (month, day) = (number(start + 2), number(start + 4))
    // Days since 1970 of the proleptic Gregorian calendar, by years that begin in March.
    let shifted = month > 2 ? year : year - 1
    let monthOfYear = (month + 9) % 12
    let dayOfYear = (153 * monthOfYear + 2) / 5 + day - 1
    let days =
      365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
    return days * 86_400 + number(start + 6) * 3600 + number(start + 8) * 60 + number(start + 10)
  }
}

/// Reads values of DER one after the other (X.690).
private struct DERReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  /// The tag of the next value.
  var tag: UInt8? { rest.first }

  /// The contents of the next value, if it has a tag.
  mutating func next(_ tag: UInt8) -> ArraySlice<UInt8>? {
    guard rest.first == tag, rest.count >= 2 else { return nil }
    var place = rest.startIndex + 1
    var length = Int(rest[place])
    place += 1
    if length >= 0x80 {
      let count = length - 0x80
      guard (1...3).contains(count), rest.endIndex - place >= count else { return nil }
      length = rest[place..<place + count].reduce(0) { $0 << 8 | Int($1) }
      place += count
    }
    guard rest.endIndex - place >= length else { return nil }
    let value = rest[place..<place + length]
    rest = rest[(place + length)...]
    return value
  }
}
