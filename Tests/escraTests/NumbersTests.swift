// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import escra

@Suite struct NumbersTests {
  @Test(arguments: [
    (0.05, 2, "0.05"), (1, 2, "1.00"), (0.995, 2, "1.00"), (0.004, 2, "0.00"), (-0.5, 1, "-0.5"),
    (-0.001, 2, "0.00"), (12.5, 0, "13"), (1_234_567.891, 3, "1234567.891"), (.nan, 2, "0.00"),
    (.infinity, 0, "9000000000000000000"), (-.infinity, 2, "-90000000000000000.00"),
  ])
  func `fixed decimals`(value: Double, places: Int, text: String) {
    #expect(fixed(value, places) == text)
  }

  @Test(arguments: [
    (0.05, "0.05"), (1, "1"), (0, "0"), (-0.0, "0"), (0.0333333333, "0.033333"), (100, "100"),
    (2.5, "2.5"), (-1.25, "-1.25"), (1e-9, "0"),
  ])
  func `decimals without zeros at the end`(value: Double, text: String) {
    #expect(trimmed(value, 6) == text)
  }

  @Test(
    arguments: [
      (0, "0"), (1023, "1023"), (1024, "1Ki"), (1536, "1.5Ki"), (512 << 20, "512Mi"),
      (3 << 29, "1.5Gi"), (1 << 40, "1Ti"), (5 << 50, "5120Ti"),
    ] as [(Int64, String)])
  func `bytes in the notation of annotations`(value: Int64, text: String) {
    #expect(bytes(value) == text)
  }

  @Test(
    arguments: [
      ("200ms", 200_000_000), ("1s", 1_000_000_000), ("1.5s", 1_500_000_000),
      ("2", 2_000_000_000), (".5", 500_000_000), ("86400", 86_400_000_000_000),
      ("0", nil), ("-1", nil), ("", nil), ("s", nil), ("ms", nil), ("0.5ms", nil), ("1m", nil),
      ("inf", nil), ("nan", nil), ("0x10", nil), ("1e3", nil), ("1 s", nil), ("1.2.3", nil),
      ("86401", nil), ("99999999999999999999999999s", nil),
    ] as [(String, Int64?)])
  func `lengths of time`(text: String, nanoseconds: Int64?) {
    #expect(Interval(argument: text)?.nanoseconds == nanoseconds)
  }

  @Test(
    arguments: [
      (0, "08:00:00.123"), (3600, "09:00:00.123"), (-9 * 3600, "2026-11-20 23:00:00.123"),
    ] as [(Int64, String)])
  func `times are local, with a date when it is not today's`(offset: Int64, text: String) {
    // 2026-11-21T08:00:00.123Z, told at 20:00Z.
    let time: Int64 = 1_795_248_000_123_456_789
    #expect(timestamp(time, now: time + 12 * 3_600_000_000_000, offset: offset) == text)
  }

  @Test func `a time without decimals has no point`() {
    let time: Int64 = 1_795_248_000_123_456_789
    #expect(timestamp(time, now: time, offset: 0, places: 0) == "08:00:00")
  }
}
