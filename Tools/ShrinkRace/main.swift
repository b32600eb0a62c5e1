// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import Syscalls

// The program `shrink-race`: gives slack of a group's back while somebody in it grows.
//
//     shrink-race GROUP ROUNDS SECONDS [FILE] [--unchecked | --to-the-use]
//     shrink-race --allocate GROUP [FILE]
//
// Law and writes are the supervisor's, the times for which slack has to last two hundred times
// shorter. The second line is what grows; the first one starts it. It never grows beyond the limit
// that there was before a shrink, so whoever is killed was killed by the shrink. With one of the
// options the protection is left out, so that it is seen to be needed:
// Tests/e2e/cases/test_shrink_race.py.

func complain(_ text: String) -> Never {
  var line = "shrink-race: \(text)\n"
  _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  exit(1)
}

func flag(_ word: String) -> Bool { word.utf8.starts(with: "--".utf8) }

let flags = CommandLine.arguments.dropFirst().filter { flag($0) }
let words = CommandLine.arguments.dropFirst().filter { !flag($0) }

do throws(SystemError) {
  if flags == ["--allocate"], let group = words.first {
    var allocator = try Allocator(in: group, reading: words.dropFirst().first)
    allocator.run()
  }
  guard words.count == 3 || words.count == 4, let rounds = Int(words[1]),
    let seconds = Int64(words[2]), flags.count <= 1,
    let way = Race.Way(rawValue: flags.first ?? "")
  else { complain("GROUP ROUNDS SECONDS [FILE] [--unchecked | --to-the-use]") }
  // An allocator that was killed hears nothing any more.
  signal(SIGPIPE, SIG_IGN)
  let race = try Race(in: words[0], way, seconds: seconds, file: words.dropFirst(3).first)
  _ = escra_set_realtime()
  let end = monotonicNow() + seconds * 1_000_000_000
  while race.attempted < rounds, race.kills == 0, monotonicNow() < end { try race.step() }
  try race.end()
  print("attempted \(race.attempted) done \(race.done) refused \(race.refused)", terminator: " ")
  print("raised \(race.raised) kills \(race.kills)")
} catch {
  complain(error.description)
}
