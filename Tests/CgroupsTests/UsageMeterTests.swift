// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Cgroups
@testable import Quantities
@testable import Syscalls

@Suite struct UsageMeterTests {
  private static let cpuStat = """
    usage_usec 1234567
    user_usec 1000000
    system_usec 234567
    nr_periods 12
    nr_throttled 3
    throttled_usec 4444

    """

  private static let nanoseconds: [(String, Nanoseconds?)] = [
    ("0\n", 0), ("1234567890\n", 1_234_567_890), ("1234567890", 1_234_567_890),
    ("9223372036854775807\n", .max), ("", nil), ("\n", nil), ("many\n", nil),
    ("12 34\n", nil), ("18446744073709551616\n", nil),
  ]

  @Test(arguments: nanoseconds)
  func `cpuacct.usage is nanoseconds`(text: String, usage: Nanoseconds?) throws {
    let directory = try TemporaryDirectory()
    let file = try FileDescriptor.open(directory.path + "/cpuacct.usage", O_RDWR | O_CREAT)
    try file.write(text)
    let meter = UsageMeter(owning: file, format: .nanoseconds)
    #expect((try? meter.read()) == usage)
  }

  private static let microseconds: [(String, Nanoseconds?)] = [
    (cpuStat, 1_234_567_000), ("usage_usec 0\n", 0),
    // The kernel may put any line first.
    ("user_usec 7\nusage_usec 9\nsystem_usec 2\n", 9000), ("usage_usec 5", 5000),
    ("", nil), ("user_usec 7\n", nil), ("usage_usec\n", nil), ("usage_usec \n", nil),
    ("usage_usec many\n", nil), ("not_usage_usec 3\n", nil), ("usage_usec_total 3\n", nil),
  ]

  @Test(arguments: microseconds)
  func `cpu.stat has a line of microseconds`(text: String, usage: Nanoseconds?) {
    #expect(UsageMeter.usage(inStatistics: text) == usage)
  }

  @Test func `the file is read anew each time`() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/cpuacct.usage"
    let kernel = try FileDescriptor.open(path, O_RDWR | O_CREAT)
    try kernel.overwrite("100\n", subject: "a file")
    let meter = UsageMeter(owning: try FileDescriptor.open(path, O_RDONLY), format: .nanoseconds)
    #expect(try meter.read() == 100)
    try kernel.overwrite("250\n", subject: "a file")
    #expect(try meter.read() == 250)
    #expect(try meter.read() == 250)
  }

  @Test func `what is no usage is an error and no zero`() throws {
    let directory = try TemporaryDirectory()
    let file = try FileDescriptor.open(directory.path + "/cpu.stat", O_RDWR | O_CREAT)
    let meter = UsageMeter(owning: file, format: .cpuStat)
    #expect(throws: SystemError("read", "the CPU usage", errno: EINVAL)) { _ = try meter.read() }
  }
}
