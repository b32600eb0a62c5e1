// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// The bytes of a record: 24 little-endian words, then the three histograms.
///
/// The first word has a magic, a version and flags; the last of the 24 is a checksum of all others.
/// Records are appended whole, but a disk that is full may keep the beginning of one: a reader looks
/// for the next magic behind it.
extension RunRecord {
  /// Bytes of a record.
  package static let size = 1024
  private static let magic: UInt32 = 0x5248_5345  // "ESHR"
  private static let version: UInt8 = 1
  private static let words = 24
  /// From here on a figure is nonsense: it is never added to another one without overflow.
  private static let most = Int64.max >> 8

  /// Writes the record.
  ///
  /// - Parameter buffer: ``size`` bytes.
  package func encode(into buffer: UnsafeMutableRawBufferPointer) {
    let flags: UInt64 = (isFinal ? 1 : 0) | (isObserved ? 2 : 0) | (isSeenInQuarters ? 4 : 0)
    var place = 0
    func put(_ word: UInt64) {
      buffer.storeBytes(of: word.littleEndian, toByteOffset: place, as: UInt64.self)
      place += 8
    }
    func put(_ low: UInt32, _ high: UInt32) { put(UInt64(low) | UInt64(high) << 32) }
    put(UInt64(Self.magic) | UInt64(Self.version) << 32 | flags << 40)
    put(nonce)
    put(UInt64(bitPattern: started))
    put(UInt64(bitPattern: written))
    put(UInt64(bitPattern: duration))
    put(UInt64(bitPattern: period))
    put(UInt64(bitPattern: declaredCPU))
    put(UInt64(bitPattern: declaredMemory))
    put(UInt64(bitPattern: usedCPU))
    put(UInt64(bitPattern: heldCPU))
    put(UInt64(bitPattern: heldMemory))
    put(UInt64(bitPattern: memoryPeak))
    put(UInt64(bitPattern: earlyMemory))
    put(UInt64(bitPattern: cpuPeak))
    put(UInt64(bitPattern: earlyCPU))
    put(UInt64(bitPattern: stalled))
    put(UInt64(bitPattern: throttledTime))
    put(UInt64(bitPattern: busy))
    put(UInt64(bitPattern: longestBurst))
    put(events.raises, events.returns)
    put(events.throttles, events.refusals)
    put(events.memoryRaises, events.memoryRefusals)
    put(events.kills, 0)
    place += 8
    for counts in [cpu.counts, bursts.counts, memory.counts] {
      for count in counts {
        buffer.storeBytes(of: count.littleEndian, toByteOffset: place, as: UInt32.self)
        place += 4
      }
    }
    let sum = Self.checksum(UnsafeRawBufferPointer(buffer))
    buffer.storeBytes(of: sum.littleEndian, toByteOffset: 8 * (Self.words - 1), as: UInt64.self)
  }

  /// Reads a record; nil for any bytes that are none.
  ///
  /// - Parameter buffer: At least ``size`` bytes.
  package init?(decoding buffer: UnsafeRawBufferPointer) {
    guard Self.isRecord(buffer) else { return nil }
    func word(_ index: Int) -> UInt64 { Self.word(index, of: buffer) }
    func figure(_ index: Int) -> Int64 { Int64(bitPattern: word(index)) }
    self.init(nonce: word(1), started: figure(2), period: figure(5))
    isFinal = word(0) >> 40 & 1 == 1
    isObserved = word(0) >> 40 & 2 == 2
    isSeenInQuarters = word(0) >> 40 & 4 == 4
    (written, duration, declaredCPU, declaredMemory) = (figure(3), figure(4), figure(6), figure(7))
    (usedCPU, heldCPU, heldMemory) = (figure(8), figure(9), figure(10))
    (memoryPeak, earlyMemory, cpuPeak, earlyCPU) = (figure(11), figure(12), figure(13), figure(14))
    (stalled, throttledTime, busy, longestBurst) = (figure(15), figure(16), figure(17), figure(18))
    func low(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: word(index)) }
    func high(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: word(index) >> 32) }
    (events.raises, events.returns) = (low(19), high(19))
    (events.throttles, events.refusals) = (low(20), high(20))
    (events.memoryRaises, events.memoryRefusals) = (low(21), high(21))
    events.kills = low(22)
    var place = 8 * Self.words
    func take(_ counts: inout [UInt32]) {
      for index in counts.indices {
        counts[index] = UInt32(
          littleEndian: buffer.loadUnaligned(fromByteOffset: place, as: UInt32.self))
        place += 4
      }
    }
    take(&cpu.counts)
    take(&bursts.counts)
    take(&memory.counts)
  }

  /// Where figures are that are read by themselves.
  enum Word {
    static let nonce = 1
    static let started = 2
    static let written = 3
    static let duration = 4
    static let earlyMemory = 12
    static let earlyCPU = 14
  }

  /// One of the first words of a record.
  static func word(_ index: Int, of buffer: UnsafeRawBufferPointer) -> UInt64 {
    UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self))
  }

  /// Whether bytes begin with a whole record.
  static func isRecord(_ buffer: UnsafeRawBufferPointer) -> Bool {
    guard buffer.count >= size, UInt32(truncatingIfNeeded: word(0, of: buffer)) == magic,
      UInt8(truncatingIfNeeded: word(0, of: buffer) >> 32) == version,
      word(words - 1, of: buffer) == checksum(buffer)
    else { return false }
    for index in 2..<19 {
      let figure = Int64(bitPattern: word(index, of: buffer))
      // The wall clock is the one figure that may be as large as it likes.
      guard figure >= 0, index < 4 || figure <= most else { return false }
    }
    // The periods that the kernel takes.
    return (1_000_000...1_000_000_000).contains(Int64(bitPattern: word(5, of: buffer)))
  }

  /// All records in the bytes of a segment, in order.
  ///
  /// - Parameter bytes: Any bytes.
  /// - Returns: The records, and whether there is anything between them.
  package static func all(in bytes: [UInt8]) -> (records: [RunRecord], isDamaged: Bool) {
    var records: [RunRecord] = []
    var isDamaged = false
    bytes.withUnsafeBytes { buffer in
      var place = 0
      while place + size <= buffer.count {
        let rest = UnsafeRawBufferPointer(rebasing: buffer[place..<place + size])
        let start = rest.loadUnaligned(as: UInt32.self)
        if UInt32(littleEndian: start) == magic, let record = RunRecord(decoding: rest) {
          records.append(record)
          place += size
        } else {
          isDamaged = true
          place += 1
        }
      }
      if place < buffer.count { isDamaged = true }
    }
    return (records, isDamaged)
  }

  /// ``FNV1a`` of all words but its own, written out: a shim computes it for a hundred records.
  private static func checksum(_ buffer: UnsafeRawBufferPointer) -> UInt64 {
    var sum = FNV1a().value
    for index in 0..<words - 1 { sum = (sum ^ word(index, of: buffer)) &* FNV1a.prime }
    for index in words..<size / 8 { sum = (sum ^ word(index, of: buffer)) &* FNV1a.prime }
    return sum
  }
}
