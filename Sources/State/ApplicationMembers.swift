// SPDX-License-Identifier: Apache-2.0
package import Application
internal import CLinux
internal import Cgroups
internal import Glibc
package import Syscalls

extension ApplicationDirectory {
  /// Registers a container: from now on what it holds is known, whichever process dies.
  ///
  /// - Throws: ``SystemError``: ENOENT when the room is just being removed.
  package func register(_ record: MemberRecord) throws(SystemError) -> MemberFile {
    try directory.makeDirectory(Self.membersName)
    let members = try members()
    let name = Self.name(of: record.nonce)
    let file = try members.open("." + name, O_RDWR | O_CREAT | O_TRUNC)
    try file.write(record.bytes)
    _ = escra_lock_file(file.number, locks == .descriptions)
    let killSwitch = try killSwitch(record.nonce)
    try members.rename("." + name, to: name)
    return MemberFile(record, owning: file, killSwitch)
  }

  /// Takes over the file of a container whose supervisor has died, or was another image.
  ///
  /// - Returns: nil when it is not registered.
  package func adopt(_ nonce: UInt64) -> MemberFile? {
    guard let members = try? members(),
      let file = members.openIfPossible(Self.name(of: nonce), O_RDWR),
      let record = record(file, nonce)
    else { return nil }
    // The supervisor before this one may still be on its way out.
    let wait = LockWait(for: Self.adoptionPatience)
    while escra_lock_file(file.number, locks == .descriptions) != 0, wait.pause() {}
    // Without one it could not be fenced: it joins as a newcomer.
    guard let killSwitch = try? killSwitch(nonce) else { return nil }
    return MemberFile(record, owning: file, killSwitch)
  }

  /// What other members end this process by: a FIFO that only its owner has open for reading.
  ///
  /// No supervisor may send signals, or open a pidfd: it could end any process of root. Each process
  /// makes a FIFO of its own, so that an open one stands for one process.
  private func killSwitch(_ nonce: UInt64) throws(SystemError) -> FileDescriptor {
    let name = Self.killSwitch(of: nonce)
    let temporary = Self.temporary + name
    try directory.remove(temporary)
    try retrying("make", name) { mkfifoat(directory.number, temporary, 0o600) }
    let file = try directory.open(temporary, O_RDONLY | O_NONBLOCK)
    // In tests all members are one process.
    if locks == .processes {
      try retrying("arm", name) { escra_die_on_input(file.number) }
    }
    try directory.rename(temporary, to: name)
    return file
  }

  private static func killSwitch(of nonce: UInt64) -> String { killSwitches + name(of: nonce) }

  /// Forgets a container: it has ended.
  package func forget(_ nonce: UInt64) {
    guard let members = try? members() else { return }
    members.removeIfPossible(Self.name(of: nonce))
    members.removeIfPossible("." + Self.name(of: nonce))
    directory.removeIfPossible(Self.killSwitch(of: nonce))
  }

  /// What is seen of a member.
  package enum Sight: Equatable, Sendable {
    /// Its container has ended.
    case gone
    /// No supervisor will raise its limit above what is held before it has joined.
    case atRest(MemberRecord)
    /// A supervisor lives.
    case alive(MemberRecord)
  }

  /// Looks at another one's file; never at one's own.
  ///
  /// - Returns: nil where it cannot be looked at now.
  package func look(at nonce: UInt64) -> Sight? {
    let file: FileDescriptor
    do throws(SystemError) {
      file = try members().open(Self.name(of: nonce), O_RDONLY)
    } catch { return error.isGone ? .gone : nil }
    // First whether it lives: what a dying one has held was written before its death.
    let holder = escra_lock_holder(file.number)
    guard let record = record(file, nonce) else { return .gone }
    return holder == 0 || record.isResting ? .atRest(record) : .alive(record)
  }

  /// What another one's file says; never one's own.
  package func record(of nonce: UInt64) -> MemberRecord? {
    guard let members = try? members(),
      let file = members.openIfPossible(Self.name(of: nonce), O_RDONLY)
    else { return nil }
    return record(file, nonce)
  }

  /// All registered members.
  ///
  /// - Parameter own: The member that asks, whose file must not be opened.
  /// - Returns: What their files say, by name.
  /// - Throws: ``SystemError`` where a member cannot be looked at now.
  package func registered(except own: UInt64? = nil) throws(SystemError) -> [MemberRecord] {
    var found: [MemberRecord] = []
    do throws(SystemError) {
      let members = try members()
      for name in try members.entries().sorted() {
        guard let nonce = Self.nonce(name), nonce != own else { continue }
        do throws(SystemError) {
          if let record = record(try members.open(name, O_RDONLY), nonce) { found.append(record) }
        } catch { guard error.isGone else { throw error } }
      }
    } catch { guard error.isGone else { throw error } }
    return found
  }

  /// All registered members, by name.
  package var nonces: [UInt64] {
    let names = (try? members().entries()) ?? []
    return names.sorted().compactMap { Self.nonce($0) }
  }

  /// Kills the supervisor of a member: of one that has its lock still after there is a handle on it,
  /// so that the handle is on no successor.
  ///
  /// - Parameters:
  ///   - nonce: Whose; never one's own.
  ///   - process: The pid that it has to have; nil for any.
  ///   - between: What happens between the handle and the second question, in tests.
  package func fence(
    _ nonce: UInt64, ifItIs process: Int32? = nil, between: () -> Void = {}
  ) {
    // A member whose file is gone has left.
    guard let members = try? members(),
      let file = members.openIfPossible(Self.name(of: nonce), O_RDONLY),
      let pid = Self.holder(file), pid == process ?? pid,
      let handle = directory.openIfPossible(Self.killSwitch(of: nonce), O_WRONLY | O_NONBLOCK)
    else { return }
    between()
    guard Self.holder(file) == pid else { return }
    // A FIFO without a reader belongs to a process that has ended.
    try? handle.write([0])
  }
}
