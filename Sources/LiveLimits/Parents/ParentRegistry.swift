// SPDX-License-Identifier: Apache-2.0
package import Application
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

extension StateRoot {
  /// Where the limits of parents are written down.
  package var parents: String { path + "/parents" }
}

/// The containers that a parent's limit depends on: registered when a container is found, while
/// there is the privilege to open what it takes, and swept when its instance is gone.
package enum ParentRegistry {
  /// For how long a process may have a record's lock, in milliseconds: it was stopped, and the
  /// container does without.
  private static let patience: Int32 = 50

  /// Registers a container with its parent.
  ///
  /// - Parameters:
  ///   - hold: The container.
  ///   - resource: Which limit.
  ///   - path: The parent's directory.
  ///   - kernel: Its limit.
  ///   - root: Where it is written down.
  ///   - locksDescription: As in ``ParentRecord``.
  /// - Returns: The record, for ``ParentLimit``.
  /// - Throws: ``SystemError``: EAGAIN where another process keeps it, EPROTO where another
  ///   version has written it, ENOSPC where no more containers fit.
  static func register(
    _ hold: ParentAccount.Hold, _ resource: SharedResource, path: String,
    _ kernel: any ParentFile, _ root: StateRoot, locksDescription: Bool = false
  ) throws(SystemError) -> FileDescriptor {
    guard path.utf8.count <= ParentRecord.longestPath else {
      throw SystemError("write down", path, errno: ENAMETOOLONG)
    }
    let inode = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY).status().identity.inode
    try StateDirectory.make(root.path)
    let name = root.parents + "/" + name(resource, inode)
    while true {
      // The last one may be on its way out of it.
      try StateDirectory.make(root.parents)
      guard let file = try create(name) else { continue }
      let identity = try file.status().identity
      let record = ParentRecord(owning: file, locksDescription: locksDescription)
      try record.lock(within: patience)
      defer { record.unlock() }
      // The last one may have just left, and the file with it.
      guard FileStatus.ifThere(name)?.identity == identity else { continue }
      if (try record.file.status()).size == 0 {
        record.begin(try kernel.read(), path: path, inode: inode)
      }
      guard var account = record.load()?.account else {
        throw SystemError("read", name, errno: EPROTO)
      }
      let place =
        account.place(of: hold.nonce) ?? account.place(of: 0) ?? account.holds.count
      guard ParentRecord.has(place: place) else {
        throw SystemError("write into", name, errno: ENOSPC)
      }
      var hold = hold
      if place < account.holds.count, account.holds[place].nonce == hold.nonce {
        // The supervisor before this one has recorded what it holds.
        hold.excess = account.holds[place].excess
      }
      record.save(hold, at: place)
      if account.holds.indices.contains(place) { account.holds[place] = hold }
      return try record.file.duplicate()
    }
  }

  /// - Returns: nil where the directory has just gone.
  private static func create(_ name: String) throws(SystemError) -> FileDescriptor? {
    do throws(SystemError) { return try FileDescriptor.open(name, O_RDWR | O_CREAT) } catch {
      if error.errno == ENOENT { return nil }
      throw error
    }
  }

  private static func name(_ resource: SharedResource, _ inode: UInt64) -> String {
    (resource == .cpu ? "cpu-" : "memory-") + String(inode, radix: 36)
  }

  // MARK: looking

  /// What is known of a parent.
  package struct Sight: Equatable, Sendable {
    /// What its maker wants it to have, in nanocores or bytes; nil for no limit.
    package var found: Int64?
    /// What its containers hold above what they declare.
    package var excess: Int64
    /// What the kernel has; nil for no limit, or none that can be read.
    package var inForce: Int64?

    /// Makes one from its parts.
    package init(found: Int64?, excess: Int64, inForce: Int64? = nil) {
      self.found = found
      self.excess = excess
      self.inForce = inForce
    }
  }

  /// What is written down of the limit of the group that a container is in with others, and what the
  /// kernel has; nil where that is left alone.
  package static func sight(of state: ContainerState, _ root: StateRoot) -> Sight? {
    guard let directory = state.cpuDirectory, let version = state.version,
      let path = CgroupLocation.parent(of: directory, named: state.cgroupName),
      var sight = sight(of: path, .cpu, root),
      let parent = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      // Without it the figure is left out.
      let reader = try? CgroupWriter(directory: parent, version: version, readOnly: true)
    else { return nil }
    // The same.
    sight.inForce = (try? reader.current())?.nanocores
    return sight
  }

  /// What is written down of a parent's limit; nil for one that is left alone.
  package static func sight(
    of path: String, _ resource: SharedResource, _ root: StateRoot
  ) -> Sight? {
    guard let directory = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      let inode = directory.statusIfKnown?.identity.inode,
      let file = FileDescriptor.openIfPossible(
        root.parents + "/" + name(resource, inode), O_RDONLY),
      let account = ParentRecord(owning: file).load()?.account
    else { return nil }
    return Sight(
      found: account.found.amount,
      excess: account.holds.reduce(0) { $0 + ($1.nonce == 0 ? 0 : $1.excess) })
  }

  // MARK: sweeping

  /// Forgets containers whose instances are gone, and records without a container: for
  /// the keeper.
  ///
  /// - Parameters:
  ///   - root: Where it is written down.
  ///   - leaver: A container whose instance is there, and that is to be forgotten.
  ///   - locksDescription: As in ``ParentRecord``.
  ///   - kernel: What is written instead of the kernel's files, in tests.
  /// - Returns: Whether there is more to do later.
  @discardableResult
  static func sweep(
    _ root: StateRoot, leaver: UInt64? = nil, locksDescription: Bool = false,
    kernel: (any ParentFile)? = nil
  ) -> Bool {
    guard let directory = FileDescriptor.openIfPossible(root.parents, O_RDONLY | O_DIRECTORY)
    else { return false }
    var isUnfinished = false
    for name in directory.entriesIfReadable {
      guard let file = directory.openIfPossible(name, O_RDWR) else { continue }
      let record = ParentRecord(owning: file, locksDescription: locksDescription)
      // The process that has it is at work on this parent; the sweep comes back.
      guard (try? record.lock()) != nil else {
        isUnfinished = true
        continue
      }
      defer { record.unlock() }
      // Behind the lock: who registers has an instance.
      guard let known = try? root.nonces() else {
        isUnfinished = true
        continue
      }
      let isMemory = name.utf8.starts(with: "memory-".utf8)
      switch tidy(record, kernel, isMemory: isMemory, { $0 != leaver && known.contains($0) }) {
      case .useless: directory.removeIfPossible(name)
      case .unfinished: isUnfinished = true
      case .tidy: break
      }
    }
    rmdir(root.parents)
    return isUnfinished
  }

  /// What became of a record.
  private enum Outcome {
    case tidy, useless, unfinished
  }

  private static func tidy(
    _ record: borrowing ParentRecord, _ kernel: (any ParentFile)?, isMemory: Bool,
    _ isKnown: (UInt64) -> Bool
  ) -> Outcome {
    // No process has begun it, or another version has.
    guard let (loaded, inode) = record.load() else {
      return (try? record.file.status())?.size == 0 ? .useless : .tidy
    }
    var account = loaded
    for place in account.holds.indices
    where account.holds[place].nonce != 0 && !isKnown(account.holds[place].nonce) {
      account.holds[place] = ParentAccount.Hold(nonce: 0)
      record.save(account.holds[place], at: place)
    }
    // Also where no container was forgotten just now: it may have been refused when that was done.
    guard let parent = FileDescriptor.openIfPossible(record.path, O_RDONLY | O_DIRECTORY),
      parent.statusIfKnown?.identity.inode == inode
    else { return .useless }
    // What the kernel refuses now is tried again by the next sweep.
    guard let kernel = kernel ?? file(of: record.path, parent, isMemory: isMemory),
      (try? record.settle(&account, kernel)) != nil
    else { return .unfinished }
    return account.isUnused ? .useless : .tidy
  }

  /// A parent's limit, open for writing.
  static func file(
    of path: String, _ directory: borrowing FileDescriptor, isMemory: Bool
  ) -> (any ParentFile)? {
    let version = directory.cgroupVersion
    if isMemory {
      guard
        // Without the controller there is no limit to raise.
        let writer = try? MemoryWriter(directory: path, version: version, readOnly: false),
        let usage = directory.openIfPossible(.memoryUsage, version, O_RDONLY)
      else { return nil }
      return ParentMemory(writer, usage: usage)
    }
    // Without the controller there is no limit to raise.
    let writer = try? CgroupWriter(directory: directory, version: version, readOnly: false)
    guard let writer else { return nil }
    return ParentQuota(writer)
  }
}
