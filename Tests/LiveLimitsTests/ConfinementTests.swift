// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import LiveLimits
@testable import Syscalls

@Suite struct ConfinementTests {
  @Test func `a filter that cannot be loaded is an error`() throws {
    let file = try FileDescriptor.open("/dev/null", O_RDONLY)
    #expect(throws: SystemError.self) { try Confinement.enter(.none, .none) }
    #expect(throws: SystemError.self) { try Confinement.enter(.none, file) }
    #expect(throws: SystemError.self) { try Confinement.enter(file, file) }
  }

  @Test func `a root directory that is not there is an error`() throws {
    let directory = try TemporaryDirectory()
    #expect(throws: SystemError("close", directory.path + "/a", errno: ENOENT)) {
      try Confinement.confineSupervisor(to: directory.path, directory.path + "/a/b")
    }
    #expect(
      throws: SystemError("make the root directory", directory.path + "/c", errno: ENOENT)
    ) {
      try Confinement.confineSupervisor(to: directory.path + "/c", directory.path + "/d")
    }
  }

  /// What a filter says to a call of x86-64: the classic BPF that libseccomp writes, run.
  private static func action(
    _ filter: borrowing FileDescriptor, _ call: UInt32, _ arguments: [UInt64] = []
  ) throws -> UInt32 {
    lseek(filter.number, 0, SEEK_SET)
    let program = try filter.readAll()
    // struct seccomp_data: number, architecture, instruction, six arguments.
    var data: [UInt32] = [call, 0xc000_003e, 0, 0]
    for index in 0..<6 {
      let word = index < arguments.count ? arguments[index] : 0
      data += [UInt32(truncatingIfNeeded: word), UInt32(word >> 32)]
    }
    var (place, accumulator): (Int, UInt32) = (0, 0)
    while true {
      let (code, isTrue, isFalse, value) = program.withUnsafeBytes { bytes in
        (
          bytes.loadUnaligned(fromByteOffset: 8 * place, as: UInt16.self),
          Int(bytes[8 * place + 2]), Int(bytes[8 * place + 3]),
          bytes.loadUnaligned(fromByteOffset: 8 * place + 4, as: UInt32.self)
        )
      }
      place += 1
      switch code {
      case 0x20: accumulator = data[Int(value) / 4]
      case 0x54: accumulator &= value
      case 0x05: place += Int(value)
      case 0x15: place += accumulator == value ? isTrue : isFalse
      case 0x25: place += accumulator > value ? isTrue : isFalse
      case 0x35: place += accumulator >= value ? isTrue : isFalse
      case 0x45: place += accumulator & value != 0 ? isTrue : isFalse
      case 0x06: return value
      default: throw SystemError("run", "an instruction \(code)", errno: EINVAL)
      }
    }
  }

  private static let allowed: UInt32 = 0x7fff_0000
  private static let refused: UInt32 = 0x0005_0000 | UInt32(EPERM)

  #if arch(x86_64)
    /// execve, ptrace, kill, clone, fork, mprotect, tgkill, sendmsg, bpf, execveat, clone3, pidfd_open,
    /// pidfd_send_signal, chmod, fchmod, fchdir, unshare, mount, link, symlink, setuid, chroot.
    @Test(
      arguments: [
        59, 101, 62, 56, 57, 10, 234, 46, 321, 322, 435, 434, 424, 90, 91, 81, 272, 165, 86, 88,
        105,
        161,
      ] as [UInt32])
    func `no reactive supervisor has what it does not need`(call: UInt32) throws {
      for isMember in [false, true] {
        let filter = try Confinement.supervisorFilter(isMember: isMember)
        #expect(try Self.action(filter, call) == Self.refused)
      }
    }

    /// fcntl, ioctl, mmap, openat, socket, mknodat, flock.
    @Test func `some calls are allowed with some arguments`() throws {
      let own = UInt64(getpid())
      let cases: [(call: UInt32, arguments: [UInt64], isMembers: Bool)] = [
        (72, [3, 6], false), (72, [3, 8, own], true), (72, [3, 10, 9], true),
        (16, [3, 0x2402], false), (9, [0, 4096, 3], false), (257, [3, 0, 0o101], false),
        (41, [1, 0o2004005, 0], true), (259, [3, 0, 0o010600], true), (73, [3, 8], false),
      ]
      for (call, arguments, isMembers) in cases {
        for isMember in [false, true] {
          let filter = try Confinement.supervisorFilter(isMember: isMember)
          let expected = isMember || !isMembers ? Self.allowed : Self.refused
          #expect(try Self.action(filter, call, arguments) == expected, "\(call) \(arguments)")
        }
      }
      let others: [(call: UInt32, arguments: [UInt64])] = [
        (72, [3, 8, 1]), (72, [3, 8, own + 1]), (72, [3, 10, 15]), (72, [3, 15, own]),
        (72, [3, 1024, 1]), (72, [3, 1026, 1]), (16, [3, 0x8901]), (16, [3, 0x8902]),
        (9, [0, 4096, 7]), (9, [0, 4096, 4]), (257, [3, 0, 0o10_000_000]),
        (41, [2, 0o2004005, 0]), (41, [1, 1, 0]), (41, [16, 3, 0]), (41, [1, 0o2004005, 1]),
        (259, [3, 0, 0o020600]), (259, [3, 0, 0o100600]), (73, [3, 2]),
      ]
      for (call, arguments) in others {
        let filter = try Confinement.supervisorFilter(isMember: true)
        #expect(try Self.action(filter, call, arguments) == Self.refused, "\(call) \(arguments)")
      }
    }
  #endif
}
