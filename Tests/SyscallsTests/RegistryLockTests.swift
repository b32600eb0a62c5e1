// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Quantities
@testable import Syscalls

@Suite struct RegistryLockTests {
  private static let locks = """
    1: POSIX  ADVISORY  WRITE 100 00:1f:5678 0 EOF
    2: FLOCK  ADVISORY  WRITE 200 00:1f:5679 0 EOF
    3: FLOCK  ADVISORY  WRITE 300 00:1f:5678 0 EOF
    3: -> FLOCK  ADVISORY  WRITE 400 00:1f:5678 0 EOF
    4: FLOCK  ADVISORY  WRITE 500 103:1f:5678 0 EOF
    """

  @Test(arguments: [
    // As the kernel packs a device into st_dev: glibc's gnu_dev_makedev.
    (device: 0x1f as UInt64, inode: 5678 as UInt64, holder: 300 as Int32?),
    (device: 0x1f, inode: 5679, holder: 200), (device: 0x1f, inode: 1, holder: nil),
    (device: 0x1_031f, inode: 5678, holder: 500),
  ])
  func `the holder is who has the flock, not who waits or has another lock`(
    device: UInt64, inode: UInt64, holder: Int32?
  ) {
    let identity = FileStatus.Identity(device: device, inode: inode)
    #expect(RegistryLock.holder(of: identity, inLocks: Self.locks) == holder)
  }

  @Test(arguments: ["", "\n\n", "1: FLOCK", "1: FLOCK ADVISORY WRITE x 00:1f:5678 0 EOF", "-> :"])
  func `a text that is none tells of nobody`(text: String) {
    let identity = FileStatus.Identity(device: 0x1f, inode: 5678)
    #expect(RegistryLock.holder(of: identity, inLocks: text) == nil)
  }

  private static let interval: Nanoseconds = 20_000_000

  /// When a lock is waited for no longer, by what each look finds.
  private static func end(_ look: (Int) -> (holder: Int32?, isAtWork: Bool)) -> Nanoseconds? {
    var patience = LockPatience(from: 0)
    return (1...1000).first {
      let (holder, isAtWork) = look($0)
      return patience.isOver(at: Nanoseconds($0) * interval, holder: holder, isAtWork: isAtWork)
    }.map { Nanoseconds($0) * interval }
  }

  @Test func `who does nothing for a second is waited for no longer`() throws {
    let over = try #require(Self.end { _ in (7, false) })
    #expect((1_000_000_000...1_100_000_000).contains(over))
    #expect(Self.end { _ in (nil, false) } == 1_020_000_000)
  }

  @Test func `who sleeps for a moment is still at work`() throws {
    let over = try #require(Self.end { (7, $0 % 10 == 0) })
    #expect(over > 10_000_000_000)
  }

  @Test func `who has the lock for a moment answers for nobody before`() throws {
    let over = try #require(Self.end { ($0 < 45 ? 7 : $0 == 45 ? nil : 8, false) })
    #expect(over > 1_900_000_000)
  }

  @Test func `nobody is waited for for ever`() throws {
    for isAtWork in [true, false] {
      let over = try #require(Self.end { (Int32($0), isAtWork) })
      #expect((10_000_000_000...11_100_000_000).contains(over))
    }
  }

  @Test func `only a process of ours is ended for a lock that it keeps`() throws {
    let stranger = try #require(Helper(""))
    #expect(!RegistryLock.evict(stranger.pid))
    #expect(!stranger.hasEnded)
    let ours = try #require(Helper("open('/proc/self/comm', 'w').write('escra-super')"))
    #expect(RegistryLock.evict(ours.pid))
    while !ours.hasEnded { usleep(1000) }
  }
}
