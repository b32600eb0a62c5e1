// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
import Glibc
internal import Quantities
import Syscalls

// The program `hammer`: writes a group's quota every millisecond, as often as the books let it.
//
//     hammer CPU-DIRECTORY USAGE-FILE LIMIT-US PERIOD-US SECONDS [--without-books]
//
// No law asks for so much. Each write is a full refill, so without the books the group may use all
// CPUs there are; with them its limit holds: Tests/e2e/cases/test_books.py looks at it from outside.

func complain(_ text: String) -> Never {
  var line = "hammer: \(text)\n"
  _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  exit(1)
}

let words = CommandLine.arguments.dropFirst()
let numbers = words.dropFirst(2).prefix(3).compactMap { Int64($0) }
let options = words.dropFirst(5)
guard words.count >= 5, numbers.count == 3, options.allSatisfy({ $0 == "--without-books" }) else {
  complain("CPU-DIRECTORY USAGE-FILE LIMIT-US PERIOD-US SECONDS [--without-books]")
}
let keepsBooks = options.isEmpty
let (limit, period, seconds) = (numbers[0], numbers[1], numbers[2])

do throws(SystemError) {
  let directory = try FileDescriptor.open(words[1], O_RDONLY | O_DIRECTORY)
  let isV1 = words[2].hasSuffix("cpuacct.usage")
  var writer = try CgroupWriter(directory: directory, version: isV1 ? .v1 : .v2, readOnly: false)
  let meter = UsageMeter(
    owning: try FileDescriptor.open(words[2], O_RDONLY), format: isV1 ? .nanoseconds : .cpuStat)
  var books = UsageBooks(
    limit: limit * 1000, period: period * 1000, cpus: Int64(sysconf(CInt(_SC_NPROCESSORS_ONLN))),
    now: monotonicNow(), usage: try meter.read())
  var inForce = try writer.current()
  var (asked, written) = (0, 0)
  let end = monotonicNow() + seconds * 1_000_000_000
  while monotonicNow() < end {
    // Up, and down by a quarter, and up again: a cut refills, too.
    let wanted = inForce.quota == limit ? limit / 4 * 3 : limit
    books.charge(usage: try meter.read(), at: monotonicNow())
    asked += 1
    if !keepsBooks || books.grant(wanted * 1000) >= wanted * 1000 {
      let next = CFSBandwidth(quota: wanted, period: period)
      try writer.set(next, from: inForce)
      inForce = next
      written += 1
    }
    usleep(1000)
  }
  print(asked, written)
} catch {
  complain(error.description)
}
