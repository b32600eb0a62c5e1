// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Application
@testable import LiveLimits
@testable import State
@testable import Syscalls

private let core: Int64 = 1_000_000_000

func sharedRecord(_ nonce: UInt64, held: Int64 = 0) -> MemberRecord {
  MemberRecord(
    nonce: nonce,
    cpu: MemberRecord.Share(held: held, declared: core, floor: core / 20, ceiling: 8 * core))
}

/// What becomes of an attempt to be the broker.
private final class Lock {
  private let file: FileDescriptor
  var isOurs: Bool { file.isOpen }

  init(of room: borrowing ApplicationDirectory) { file = room.takeLock() ?? .none }
}

@Suite struct ApplicationRoomTests {
  let directory: TemporaryDirectory
  var path: String { directory.path + "/apps/0123456789abcdef" }

  init() throws { directory = try TemporaryDirectory() }

  private func room() throws(SystemError) -> ApplicationDirectory {
    try ApplicationDirectory(making: path, locks: .descriptions)
  }

  @Test func `several that name a room at once all find that it is theirs`() async {
    for round in 0..<1000 {
      let path = "\(path)-\(round)"
      let outcomes = await withTaskGroup(of: Bool?.self) { group in
        for _ in 0..<8 {
          group.addTask { try? ApplicationDirectory(making: path).isNamed("name=shop\n") }
        }
        return await group.reduce(into: [Bool?]()) { $0.append($1) }
      }
      #expect(outcomes.allSatisfy { $0 == true })
      let room = try? ApplicationDirectory(opening: path)
      room?.removeIfEmpty()
      #expect(access(path, F_OK) != 0)
    }
  }

  @Test func `what a member's file says is read back`() {
    var record = sharedRecord(77, held: 5)
    record.priority = -3
    record.isResting = true
    #expect(MemberRecord(nonce: 77, bytes: record.bytes) == record)
    record.memory = MemberRecord.Share(held: 1, declared: 2, floor: 3, ceiling: 4)
    #expect(MemberRecord(nonce: 77, bytes: record.bytes) == record)
    record.cpu.group = MemberGroup(id: 9, limit: core, isRaised: true)
    #expect(MemberRecord(nonce: 77, bytes: record.bytes) == record)
    record.memory?.group = MemberGroup(id: .max, limit: 96 << 20)
    #expect(MemberRecord(nonce: 77, bytes: record.bytes) == record)
  }

  @Test(arguments: [0, 7, 24, 30, 44, 127])
  func `a file that is none gives no member`(broken: Int) {
    var bytes = sharedRecord(1, held: 5).bytes
    bytes[broken] ^= 0x80
    if broken == 24 || broken == 127 {
      #expect(MemberRecord(nonce: 1, bytes: bytes) != nil, "amounts may be any")
    } else {
      #expect(MemberRecord(nonce: 1, bytes: bytes) == nil)
    }
    #expect(MemberRecord(nonce: 1, bytes: Array(bytes.dropLast())) == nil)
  }

  @Test func `who is registered is seen with what it holds, alive as long as its file is open`()
    throws
  {
    let room = try self.room()
    var file: MemberFile? = try room.register(sharedRecord(36))
    #expect(room.nonces == [36])
    #expect(room.look(at: 36) == .alive(sharedRecord(36)))
    file?.hold(core, of: .cpu)
    #expect(room.look(at: 36) == .alive(sharedRecord(36, held: core)))
    file?.rest(true)
    var resting = sharedRecord(36, held: core)
    resting.isResting = true
    #expect(room.look(at: 36) == .atRest(resting))
    file?.rest(false)
    file = nil
    #expect(room.look(at: 36) == .atRest(sharedRecord(36, held: core)), "its supervisor is dead")
    file = room.adopt(36)
    #expect(room.look(at: 36) == .alive(sharedRecord(36, held: core)), "another has taken over")
    room.forget(36)
    #expect(room.look(at: 36) == .gone)
    _ = file
  }

  @Test func `a member that cannot be looked at is neither gone nor forgotten`() throws {
    let room = try self.room()
    let file = try room.register(sharedRecord(36))
    // As where no descriptor is to spare: opening fails, and the name is there.
    rename(room.path + "/members", room.path + "/elsewhere")
    try FileDescriptor.open(room.path + "/members", O_WRONLY | O_CREAT).write("")
    #expect(room.look(at: 36) == nil)
    #expect(throws: SystemError.self) { try room.registered() }
    unlink(room.path + "/members")
    #expect(room.look(at: 36) == .gone)
    #expect(try room.registered().isEmpty)
    rename(room.path + "/elsewhere", room.path + "/members")
    #expect(try room.registered() == [sharedRecord(36)])
    _ = file
  }

  @Test func `one of several is the broker, and says so`() throws {
    let one = try self.room()
    let two = try self.room()
    #expect(one.broker == nil)
    do {
      let lock = Lock(of: one)
      #expect(lock.isOurs)
      #expect(!Lock(of: two).isOurs)
      #expect(two.broker != nil)
      _ = consume lock
    }
    #expect(Lock(of: two).isOurs)
  }

  @Test func `limits are there for the next broker`() throws {
    let room = try self.room()
    #expect(room.limits().cpu == ApplicationLimits())
    let cpu = ApplicationLimits(
      explicit: 3 * core, annotated: 2 * core, inForce: 4 * core,
      share: .init(limit: 3, minimum: 2, deadline: 1 << 60))
    let memory = ApplicationLimits(explicit: nil, inForce: 17, awaitsShareUntil: 5)
    room.save(cpu: cpu, memory: memory)
    let found = try self.room().limits()
    #expect(found.cpu == cpu && found.memory == memory)
  }

  @Test func `a room belongs to who has named it`() throws {
    let room = try self.room()
    #expect(try room.isNamed("a"))
    #expect(try self.room().isNamed("a"))
    #expect(try !self.room().isNamed("b"))
  }

  @Test func `a room goes with its last member, and not before`() throws {
    let room = try self.room()
    _ = try room.register(sharedRecord(1))
    _ = try room.register(sharedRecord(2))
    #expect(try room.isNamed("a"))
    room.save(cpu: ApplicationLimits(), memory: ApplicationLimits())
    room.forget(1)
    room.removeIfEmpty()
    #expect(access(path, F_OK) == 0)
    room.forget(2)
    do {
      let lock = Lock(of: room)
      #expect(lock.isOurs)
      try self.room().removeIfEmpty()
      #expect(access(path, F_OK) == 0, "whoever is the broker removes it")
      _ = consume lock
    }
    room.removeIfEmpty()
    #expect(access(path, F_OK) != 0)
    #expect(throws: SystemError.self) { try room.register(sharedRecord(3)) }
    _ = try self.room().register(sharedRecord(3))
    #expect(try self.room().nonces == [3], "the next one is another")
  }

  @Test func `a lock on a file that is gone makes nobody the broker`() throws {
    let room = try self.room()
    let lock = Lock(of: room)
    unlink(path + "/.lock")
    let other = Lock(of: try self.room())
    #expect(lock.isOurs && other.isOurs, "of the new file")
    #expect(!Lock(of: room).isOurs)
    _ = consume lock
    _ = consume other
  }

  /// Locks a member's file as its supervisor does, and has its FIFO open.
  private static let member = """
    import fcntl, os, sys
    file = open(sys.argv[1] + "/members/" + sys.argv[2], "r+")
    fcntl.lockf(file, fcntl.LOCK_EX)
    fifo = os.open(sys.argv[1] + "/.kill." + sys.argv[2], os.O_RDONLY | os.O_NONBLOCK)
    """

  @Test func `who has a member's lock is the one that is killed, if it has it still`() throws {
    let room = try self.room()
    _ = try room.register(sharedRecord(36))
    let ear = try FileDescriptor.open(path + "/.kill.10", O_RDONLY | O_NONBLOCK).release()
    defer { close(ear) }
    func hasHeard() -> Bool {
      var byte: UInt8 = 0
      return read(ear, &byte, 1) == 1
    }
    room.fence(36)
    #expect(!hasHeard(), "nobody has the lock")
    let member = try #require(Helper(Self.member, path, "10"))
    room.fence(36, ifItIs: member.pid + 1)
    #expect(!hasHeard(), "another has the lock")
    room.fence(36) {
      kill(member.pid, SIGKILL)
      while !member.hasEnded { usleep(1000) }
    }
    #expect(!hasHeard(), "it has died since")
    let successor = try #require(Helper(Self.member, path, "10"))
    room.fence(36, ifItIs: successor.pid)
    #expect(hasHeard())
  }

  @Test func `a supervisor that another one ends need not be at work`() throws {
    let room = try ApplicationDirectory(making: path, locks: .descriptions)
    _ = try room.register(sharedRecord(36))
    let member = try #require(
      Helper(
        Self.member + """

          fcntl.fcntl(fifo, fcntl.F_SETOWN, os.getpid())
          fcntl.fcntl(fifo, 10, 9)
          fcntl.fcntl(fifo, fcntl.F_SETFL, os.O_NONBLOCK | 0o20000)
          """, path, "10"))
    kill(member.pid, SIGSTOP)
    room.fence(36)
    while !member.hasEnded { usleep(1000) }
  }

  @Test func `what a supervisor cannot remove is left for the keeper, and is empty`() throws {
    let root = StateRoot(path: directory.path)
    let room = try self.room()
    _ = try room.register(sharedRecord(1))
    ApplicationDirectory.removeAbandoned(root)
    #expect(access(path, F_OK) == 0, "somebody is in it")
    room.forget(1)
    room.removeIfEmpty()
    try FileDescriptor.open(directory.path + "/apps", O_RDONLY | O_DIRECTORY)
      .makeDirectory("0123456789abcdef")
    ApplicationDirectory.removeAbandoned(root)
    #expect(access(path, F_OK) != 0)
  }

  @Test(.enabled(if: geteuid() == 0))
  func `a connection of another user is closed`() throws {
    let listener = try ControlSocket.listen(on: "socket", in: directory.opened())
    chmod(directory.path, 0o755)
    chmod(directory.path + "/socket", 0o777)
    let connect = """
      import os, socket, sys
      os.setuid(int(sys.argv[2]))
      ends = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
      for end in ends: end.connect(sys.argv[1] + "/socket")
      """
    func areLetIn(_ user: UInt32) throws -> [Bool] {
      let helper = try #require(Helper(connect, directory.path, "\(user)"))
      defer { _ = helper }
      let control = ControlSocket.accept(from: listener)?.release() ?? -1
      let application = ApplicationSocket.accept(from: listener)?.release() ?? -1
      defer { for number in [control, application] where number >= 0 { close(number) } }
      return [control >= 0, application >= 0]
    }
    #expect(try areLetIn(65534) == [false, false])
    #expect(try areLetIn(0) == [true, true])
  }
}
