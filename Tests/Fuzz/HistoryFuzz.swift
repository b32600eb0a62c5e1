// SPDX-License-Identifier: Apache-2.0
@testable import Control
@testable import Quantities

/// What libFuzzer calls with any bytes: reading a segment and a trace is total, what was read reads
/// back, and it can be concluded from.
///
/// A checksum keeps nearly all inputs out, so one is put where the reader looks for it.
///
/// Compiled by scripts/fuzz into one module with the readers.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHistory(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  var bytes = Array(UnsafeBufferPointer(start: start, count: count))
  check(bytes)
  seal(&bytes)
  check(bytes)
  return 0
}

private func check(_ bytes: [UInt8]) {
  let (records, _) = RunRecord.all(in: bytes)
  for record in records {
    var again = [UInt8](repeating: 0, count: RunRecord.size)
    again.withUnsafeMutableBytes { record.encode(into: $0) }
    guard RunRecord.all(in: again).records == [record] else { fatalError("not itself: \(record)") }
  }
  let profile = Profile(Run.all(of: records + records), now: 1 << 60)
  _ = Recommendation(profile)
  var needs = EarlyNeeds()
  needs.add(bytes)
  guard needs.runs.count == profile.runs.count else { fatalError("other runs: \(needs)") }
  _ = Prediction(needs, now: 1 << 60)
  if let trace = DemandTrace(decoding: bytes) {
    guard trace.pieces.allSatisfy({ $0.start >= 0 && $0.use >= 0 }), trace.duration >= 0 else {
      fatalError("no trace: \(trace)")
    }
  }
}

/// Makes each KiB a record, and the beginning of the bytes a block, as far as checksums do.
private func seal(_ bytes: inout [UInt8]) {
  func put(_ value: UInt64, at place: Int) {
    for shift in 0..<8 {
      bytes[place + shift] = UInt8(truncatingIfNeeded: value >> UInt64(8 * shift))
    }
  }
  func word(_ place: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 | UInt64(bytes[place + $1]) << UInt64(8 * $1) }
  }
  for place in stride(from: 0, through: bytes.count - 1024, by: 1024) {
    put(0x0001_5248_5345 | word(place) & 0x0300_0000_0000, at: place)
    // Figures that are too large are refused, and then nothing is concluded from them.
    for index in 2..<19 { put(word(place + 8 * index) >> 9, at: place + 8 * index) }
    put(1_000_000 + word(place + 40) % 999_000_001, at: place + 40)
    var sum = FNV1a()
    for index in 0..<128 where index != 23 { sum.add(word(place + 8 * index)) }
    put(sum.value, at: place + 184)
  }
  if bytes.count >= 48, bytes.count < 1024 {
    put(0x0001_5254_5345 | UInt64(bytes.count - 40) << 48, at: 0)
    put(word(8) >> 1, at: 8)
    put(250_000 + word(16) % 999_000_000, at: 16)
    var sum = FNV1a()
    for place in stride(from: 0, to: 32, by: 8) { sum.add(word(place)) }
    for byte in bytes[40...] { sum.add(UInt64(byte)) }
    put(sum.value, at: 32)
  }
}
