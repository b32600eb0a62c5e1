// SPDX-License-Identifier: Apache-2.0

/// What a file in `members/` says of a member: 128 bytes, little-endian words.
///
/// It is there before anything is granted, and outlives the supervisor. What is held is written
/// before the kernel's limit is raised, and after it was lowered: so a process that reads the file
/// of a supervisor that is dead, or has put itself to rest, knows the most that the kernel's limit
/// is.
package struct MemberRecord: Equatable, Sendable {
  /// One resource.
  package struct Share: Equatable, Sendable {
    /// The most that the kernel's limit is, or that the low-level runtime will make it.
    package var held: Int64 = 0
    /// What its container declares.
    package var declared: Int64
    /// The least that it may be left with.
    package var floor: Int64
    /// The most that it may be given.
    package var ceiling: Int64
    /// The cgroup that bounds it together with others; nil where no limit does.
    package var group: MemberGroup?

    /// Makes a share from its parts.
    package init(held: Int64 = 0, declared: Int64, floor: Int64, ceiling: Int64) {
      self.held = held
      self.declared = declared
      self.floor = floor
      self.ceiling = ceiling
    }
  }

  /// The container's instance.
  package var nonce: UInt64
  /// Its priority in a shortage: a larger number is served first.
  package var priority: Int32
  /// Its share of CPU, in nanocores.
  package var cpu: Share
  /// nil where its memory is no business of the application's.
  package var memory: Share?
  /// Its supervisor has no connection, and raises nothing before it has joined again.
  package var isResting = false

  /// Makes a record from its parts.
  package init(nonce: UInt64, priority: Int32 = 0, cpu: Share, memory: Share? = nil) {
    self.nonce = nonce
    self.priority = priority
    self.cpu = cpu
    self.memory = memory
  }

  /// The share of a resource; setting nil removes the share of memory.
  package subscript(resource: SharedResource) -> Share? {
    get { resource == .cpu ? cpu : memory }
    set {
      switch (resource, newValue) {
      case (.cpu, let share?): cpu = share
      case (.cpu, nil): break
      case (.memory, let share): memory = share
      }
    }
  }

  /// What a broker begins with; nil where it is none of that resource's.
  package func registration(of resource: SharedResource) -> Registration? {
    self[resource].map { share in
      Registration(
        nonce: nonce, declared: share.declared, floor: share.floor, ceiling: share.ceiling,
        priority: priority, isNewcomer: share.held == 0, group: share.group)
    }
  }

  // MARK: bytes

  /// The size of the file, in bytes.
  package static let size = 128
  /// "ESAM", and the version of the file in the upper half.
  private static let magic: Int64 = 1 << 32 | 0x4d41_5345
  /// Where the file has the flags, in bytes.
  package static let flagsOffset = 16

  private enum Flag {
    static let resting: Int64 = 1
    static let memory: Int64 = 2
    /// The limit of the group is raised; of each resource.
    static let raised: [Int64] = [4, 8]
  }

  /// The third word of the file.
  package var flags: Int64 {
    var flags = (isResting ? Flag.resting : 0) | (memory == nil ? 0 : Flag.memory)
    if cpu.group?.isRaised == true { flags |= Flag.raised[0] }
    if memory?.group?.isRaised == true { flags |= Flag.raised[1] }
    return flags
  }

  /// Where the file has what is held of a resource.
  package static func heldOffset(_ resource: SharedResource) -> Int { resource == .cpu ? 24 : 56 }

  /// The file.
  package var bytes: [UInt8] {
    func words(_ share: Share?) -> [Int64] {
      [share?.held ?? 0, share?.declared ?? 0, share?.floor ?? 0, share?.ceiling ?? 0]
    }
    func words(_ group: MemberGroup?) -> [Int64] {
      [Int64(bitPattern: group?.id ?? 0), group?.limit ?? 0]
    }
    let words =
      [Self.magic, Int64(priority), flags] + words(cpu) + words(memory) + words(cpu.group)
      + words(memory?.group)
    var bytes = [UInt8](repeating: 0, count: Self.size)
    bytes.withUnsafeMutableBytes { buffer in
      for (index, word) in words.enumerated() {
        buffer.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: Int64.self)
      }
    }
    return bytes
  }

  /// Reads a file; nil for what is none.
  ///
  /// - Parameters:
  ///   - nonce: What its name says.
  ///   - bytes: What is in it.
  package init?(nonce: UInt64, bytes: [UInt8]) {
    guard bytes.count == Self.size else { return nil }
    let words = bytes.withUnsafeBytes { buffer in
      (0..<15).map {
        Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self))
      }
    }
    guard words[0] == Self.magic, let priority = Int32(exactly: words[1]) else { return nil }
    func group(_ first: Int, _ flag: Int64) -> MemberGroup? {
      // A program that knew no groups has written 0.
      guard words[first] != 0, (0...ApplicationMessage.most).contains(words[first + 1]) else {
        return nil
      }
      return MemberGroup(
        id: UInt64(bitPattern: words[first]), limit: words[first + 1],
        isRaised: words[2] & flag != 0)
    }
    func share(_ first: Int) -> Share? {
      let amounts = words[first..<first + 4]
      guard amounts.allSatisfy({ (0...ApplicationMessage.most).contains($0) }),
        words[first + 2] <= words[first + 3]
      else { return nil }
      return Share(
        held: words[first], declared: words[first + 1], floor: words[first + 2],
        ceiling: words[first + 3])
    }
    guard let cpu = share(3) else { return nil }
    self.init(nonce: nonce, priority: priority, cpu: cpu)
    self.cpu.group = group(11, Flag.raised[0])
    isResting = words[2] & Flag.resting != 0
    if words[2] & Flag.memory != 0 {
      guard let memory = share(7) else { return nil }
      self.memory = memory
      self.memory?.group = group(13, Flag.raised[1])
    }
  }
}

extension MemberRecord.Share {
  /// The share of a newcomer of which it is known what its earlier runs needed at first.
  ///
  /// - Parameters:
  ///   - need: That; nil where it is not known.
  ///   - admits: Whether it is not to be let in with less.
  /// - Returns: A share that declares no more than that, within its bounds.
  package func predicted(_ need: Int64?, admits: Bool) -> Self {
    guard let need else { return self }
    var share = self
    share.declared = min(declared, max(need, floor), ceiling)
    if admits { share.floor = max(floor, share.declared) }
    return share
  }
}
