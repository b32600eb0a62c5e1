// SPDX-License-Identifier: Apache-2.0

/// Why bytes are no message.
package enum FrameError: Error, Equatable {
  /// A frame has 96 bytes.
  case length(Int)
  /// It does not begin with "ESAP".
  case magic(UInt32)
  /// The sender's version, and the oldest one that it can talk to.
  case version(UInt8, oldest: UInt8)
  /// No such kind, in this version.
  case kind(UInt8)
  /// No such resource.
  case resource(UInt8)
  /// The word with this index, from 0, cannot be.
  case word(Int)
}

/// The frame: little-endian words, at places that stay where they are in every version.
extension ApplicationMessage {
  /// Bytes of a frame.
  package static let size = 96
  /// The version of the protocol that this program speaks.
  package static let version: UInt8 = 3
  /// The oldest version whose frames mean the same here.
  static let oldest: UInt8 = 1
  /// The version that has a newcomer which must not change the application's limit.
  private static let withoutChange: UInt8 = 2
  /// The version that has a node's share of a cluster-scoped application.
  private static let withShares: UInt8 = 3
  private static let magic: UInt32 = 0x5041_5345
  private static let firstWord = 40
  private static let words = 7
  /// "Not said", as a word.
  private static let absent: Int64 = -1

  /// Writes the frame.
  ///
  /// - Parameter buffer: At least 96 bytes.
  package func encode(into buffer: UnsafeMutableRawBufferPointer) {
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
    buffer.storeBytes(of: Self.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
    buffer[4] = Self.version
    buffer[5] = oldestReader
    buffer[7] = resource.rawValue
    for (offset, word) in [(8, epoch), (16, nonce), (24, sequence), (32, acknowledged)] {
      buffer.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
    }
    func put(_ kind: UInt8, _ words: Int64...) {
      buffer[6] = kind
      for (index, word) in words.enumerated() {
        buffer.storeBytes(
          of: word.littleEndian, toByteOffset: Self.firstWord + 8 * index, as: Int64.self)
      }
    }
    switch body {
    case .join(let claim):
      put(
        claim.isNoChange ? 7 : 1, claim.held, claim.wanted, claim.declared, claim.floor,
        claim.ceiling,
        Int64(claim.priority), claim.application ?? Self.absent)
    case .grow(let holding): put(2, holding.held, holding.wanted, holding.spent)
    case .giveBack(let holding): put(3, holding.held, holding.wanted, holding.spent)
    case .leave: put(4)
    case .status: put(5)
    case .set(let limit): put(6, limit)
    case .share(let share):
      put(8, share.limit, share.minimum, share.deadline ?? Self.absent)
    case .attend: put(9)
    case .welcome(let limit): put(16, limit)
    case .grant(let limit): put(17, limit)
    case .recall(let limit): put(18, limit)
    case .refuse(let reason, let figure): put(19, Int64(reason.rawValue), figure)
    case .figures(let figures):
      put(
        20, figures.limit, figures.inForce, figures.charged, figures.members, figures.waiting)
    case .demand(let demand):
      put(
        21, demand.inForce, demand.wanted, demand.used, demand.declared, demand.floors,
        demand.explicit ?? Self.absent)
    }
  }

  /// The oldest version that does not misunderstand it.
  private var oldestReader: UInt8 {
    switch body {
    case .join(let claim) where claim.isNoChange: Self.withoutChange
    case .refuse(.conflict, _): Self.withoutChange
    case .share, .attend, .demand: Self.withShares
    default: Self.oldest
    }
  }

  /// The frame.
  package var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.size)
    bytes.withUnsafeMutableBytes { encode(into: $0) }
    return bytes
  }

  /// Reads a frame.
  ///
  /// Decoding is total: any bytes are a message, or an error that says why not.
  /// What a message does not use must be zero, so that a later version may use it: it then raises
  /// the oldest version that its frames are for, and is refused here instead of misunderstood.
  package init(decoding buffer: UnsafeRawBufferPointer) throws(FrameError) {
    guard buffer.count == Self.size else { throw .length(buffer.count) }
    let magic = UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
    guard magic == Self.magic else { throw .magic(magic) }
    let (version, oldest, kind) = (buffer[4], buffer[5], buffer[6])
    guard version >= Self.oldest, oldest >= 1, oldest <= min(version, Self.version) else {
      throw .version(version, oldest: oldest)
    }
    guard let resource = SharedResource(rawValue: buffer[7]) else { throw .resource(buffer[7]) }
    func header(_ offset: Int) -> UInt64 {
      UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    func word(_ index: Int) -> Int64 {
      Int64(
        littleEndian: buffer.loadUnaligned(
          fromByteOffset: Self.firstWord + 8 * index, as: Int64.self))
    }
    func amount(_ index: Int) throws(FrameError) -> Int64 {
      let word = word(index)
      guard word >= 0, word <= Self.most else { throw .word(index) }
      return word
    }
    func holding() throws(FrameError) -> Holding {
      Holding(held: try amount(0), wanted: try amount(1), spent: try amount(2))
    }
    let body: Body
    let used: Int
    switch kind {
    case 1, 7:
      guard let priority = Int32(exactly: word(5)) else { throw .word(5) }
      let claim = Claim(
        held: try amount(0), wanted: try amount(1), declared: try amount(2),
        floor: try amount(3), ceiling: try amount(4), priority: priority,
        application: word(6) == Self.absent ? nil : try amount(6), isNoChange: kind == 7)
      guard claim.floor <= claim.ceiling else { throw .word(4) }
      (body, used) = (.join(claim), 7)
    case 2: (body, used) = (.grow(try holding()), 3)
    case 3: (body, used) = (.giveBack(try holding()), 3)
    case 4: (body, used) = (.leave, 0)
    case 5: (body, used) = (.status, 0)
    case 6: (body, used) = (.set(try amount(0)), 1)
    case 8:
      // A time, and no amount: CLOCK_BOOTTIME is more than 2^48 ns after three days.
      guard word(2) >= Self.absent else { throw .word(2) }
      let share = Share(
        limit: try amount(0), minimum: try amount(1),
        deadline: word(2) == Self.absent ? nil : word(2))
      guard share.minimum <= share.limit else { throw .word(1) }
      (body, used) = (.share(share), 3)
    case 9: (body, used) = (.attend, 0)
    case 16: (body, used) = (.welcome(limit: try amount(0)), 1)
    case 17: (body, used) = (.grant(limit: try amount(0)), 1)
    case 18: (body, used) = (.recall(limit: try amount(0)), 1)
    case 19:
      guard let reason = UInt8(exactly: word(0)).flatMap({ Refusal(rawValue: $0) }) else {
        throw .word(0)
      }
      (body, used) = (.refuse(reason, figure: try amount(1)), 2)
    case 20:
      (body, used) = (
        .figures(
          Figures(
            limit: try amount(0), inForce: try amount(1), charged: try amount(2),
            members: try amount(3), waiting: try amount(4))), 5
      )
    case 21:
      (body, used) = (
        .demand(
          Demand(
            inForce: try amount(0), wanted: try amount(1), used: try amount(2),
            declared: try amount(3), floors: try amount(4),
            explicit: word(5) == Self.absent ? nil : try amount(5))), 6
      )
    default: throw .kind(kind)
    }
    for index in used..<Self.words where word(index) != 0 { throw .word(index) }
    self.init(
      resource: resource, epoch: header(8), nonce: header(16), sequence: header(24),
      acknowledged: header(32), body: body)
  }

  /// Reads a frame.
  package init(bytes: [UInt8]) throws(FrameError) {
    let result = bytes.withUnsafeBytes { buffer -> Result<Self, FrameError> in
      do throws(FrameError) {
        return .success(try Self(decoding: buffer))
      } catch {
        return .failure(error)
      }
    }
    self = try result.get()
  }
}
