// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Quantities

@Suite struct QuantityTests {
  @Test(
    arguments: [
      ("500m", 500), ("2", 2000), ("0.5", 500), (".5", 500), ("1.", 1000), ("1.5", 1500),
      ("1e1", 10_000), ("1E1", 10_000), ("5e-1", 500), ("1e-3", 1), ("+2", 2000), ("0", 0),
      ("-0", 0), ("007", 7000), ("0.250000000000000000000000000000", 250), ("1500000u", 1500),
      ("2000000n", 2), ("1k", 1_000_000), ("0.001", 1), ("0e99999", 0),
      ("9223372036854775.807", Int64.max), ("9223372036854775807m", Int64.max),
    ] as [(String, Int64)])
  func `reads cores in thousandths`(text: String, millicores: Int64) throws {
    #expect(try CPUAmount(text) == CPUAmount(millicores: millicores))
  }

  static let badCPUs: [(String, String)] = [
    ("", "is empty"), ("-1", "is negative"), ("-0.001", "is negative"),
    ("0.5m", "is finer than 1m, a thousandth of a core"),
    ("0.0001", "is finer than 1m, a thousandth of a core"),
    ("1e-4", "is finer than 1m, a thousandth of a core"),
    ("1e-99999", "is finer than 1m, a thousandth of a core"),
    ("1500500u", "is finer than 1m, a thousandth of a core"),
    ("0.12345678901234567890123", "has too many digits"),
    ("9223372036854776", "is too large"), ("18446744073709551616", "is too large"),
    ("99999999999999999999999", "is too large"), ("8Ei", "is an amount of memory"),
    ("10Mi", "is an amount of memory"), ("1Ki", "is an amount of memory"),
    ("1e40", "is too large"), ("1e99999", "is too large"),
    (".", "is no quantity"), ("+", "is no quantity"), ("-", "is no quantity"),
    ("m", "is no quantity"), ("1.2.3", "is no quantity"), ("1 ", "is no quantity"),
    (" 1", "is no quantity"), ("1M5", "is no quantity"), ("1mm", "is no quantity"),
    ("0x10", "is no quantity"), ("1e", "is no quantity"), ("1e1.5", "is no quantity"),
    ("1e1Ki", "is no quantity"), ("--1", "is no quantity"), ("+-1", "is no quantity"),
    ("1,5", "is no quantity"), ("NaN", "is no quantity"), ("inf", "is no quantity"),
    ("1K", "is no quantity"), ("½", "is no quantity"), ("٣", "is no quantity"),
    ("1e99999999999999999999", "is no quantity"), ("1\0", "is no quantity"),
  ]

  @Test(arguments: badCPUs)
  func `refuses cores that nobody could give`(text: String, problem: String) {
    #expect(sentence { _ = try CPUAmount(text) } == "\(problem); write \(CPUAmount.accepted)")
  }

  @Test(
    arguments: [
      ("1048576", 1 << 20), ("512Mi", 512 << 20), ("1Gi", 1 << 30), ("1.5Gi", 3 << 29),
      ("100M", 100_000_000), ("1k", 1000), ("1Ki", 1024), ("2Ti", 2 << 40), ("3Pi", 3 << 50),
      ("7Ei", 7 << 60), ("1G", 1_000_000_000), ("1T", 1_000_000_000_000),
      ("1P", 1_000_000_000_000_000), ("1E", 1_000_000_000_000_000_000), ("1E3", 1000),
      ("1e3", 1000), ("129e6", 129_000_000), ("0.5", 1), ("0.1Ki", 103), ("1.0001", 2),
      ("1e-30", 1), ("0", 0), ("9223372036854775807", Int64.max),
      ("7.999999999Ei", 9_223_372_035_701_854_304),
    ] as [(String, Int64)])
  func `reads bytes and rounds a fraction up`(text: String, bytes: Int64) throws {
    #expect(try ByteQuantity(text).bytes == bytes)
  }

  static let badBytes: [(String, String)] = [
    ("", "is empty"), ("-1Gi", "is negative"), ("512m", "is in parts of a byte"),
    ("1u", "is in parts of a byte"), ("1n", "is in parts of a byte"), ("1K", "is no quantity"),
    ("512MB", "is no quantity"), ("512MiB", "is no quantity"), ("512mi", "is no quantity"),
    ("512 Mi", "is no quantity"), ("max", "is no quantity"), ("8Ei", "is too large"),
    ("9223372036854775808", "is too large"), ("9.3E", "is too large"),
    ("18446744073709551615Ei", "is too large"),
  ]

  @Test(arguments: badBytes)
  func `refuses bytes that nobody could give`(text: String, problem: String) {
    #expect(sentence { _ = try ByteQuantity(text) } == "\(problem); write \(ByteQuantity.accepted)")
  }

  @Test(arguments: ["0", "500m", "2", "1500m", "1m", "1000000"])
  func `prints cores as they are written`(text: String) throws {
    #expect(try CPUAmount(text).description == text)
  }

  @Test(arguments: ["0", "1", "1023", "512Mi", "1Gi", "1536Mi", "100M", "1k", "1Ki", "7Ei", "4097"])
  func `prints bytes as they are written`(text: String) throws {
    #expect(try ByteQuantity(text).description == text)
  }

  @Test(
    arguments: [
      (0, 0), (1, 4096), (4096, 4096), (4097, 8192), (Int64.max, Int64.max - 4095),
    ] as [(Int64, Int64)])
  func `rounds memory up to pages`(bytes: Int64, rounded: Int64) {
    #expect(ByteQuantity(bytes: bytes).roundedUpToPages.bytes == rounded)
  }
}
