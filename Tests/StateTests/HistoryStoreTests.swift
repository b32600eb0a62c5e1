// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Application
@testable import Control
@testable import State
@testable import Syscalls

@Suite struct HistoryStoreTests {
  private func target(
    _ directory: TemporaryDirectory, _ name: String = "web", namespace: String? = nil,
    runs: Int64 = 200, keep: Int64 = 1 << 32, isTraced: Bool = false
  ) -> ProfileTarget {
    ProfileTarget(
      profile: name, user: 0, root: "/run/runc", namespace: namespace,
      directory: directory.path + "/a/b", runs: runs, keep: keep, isTraced: isTraced)
  }

  private func append(_ nonce: UInt64, to target: ProfileTarget) throws {
    let files = try HistoryStore.open(target, nonce: nonce)
    let segment = FileDescriptor(owning: files.segment)
    if let trace = files.trace { try FileDescriptor(owning: trace).write([1]) }
    var record = RunRecord(nonce: nonce, started: Int64(nonce), period: 100_000_000)
    record.duration = 1
    var bytes = [UInt8](repeating: 0, count: RunRecord.size)
    bytes.withUnsafeMutableBytes { record.encode(into: $0) }
    try segment.write(bytes)
  }

  @Test func `what was appended is found under its name, and under no other`() throws {
    let directory = try TemporaryDirectory()
    let store = HistoryStore(path: directory.path + "/a/b")
    #expect(try store.profiles().isEmpty)
    for namespace in [nil, "shop", "blog"] {
      for nonce in 1...3 { try append(UInt64(nonce), to: target(directory, namespace: namespace)) }
    }
    let found = try store.profiles()
    #expect(found.map(\.name) == ["web", "web", "web"])
    #expect(found.map(\.namespace) == [nil, "blog", "shop"])
    #expect(found.allSatisfy { $0.runs.map(\.total.nonce) == [1, 2, 3] && !$0.isDamaged })
    #expect(HistoryStore.early(of: target(directory)).runs.count == 3)
    try found[0].forget()
    #expect(try store.profiles().count == 2)
  }

  @Test func `old segments go once newer ones have enough runs, and none that is open`() throws {
    let directory = try TemporaryDirectory()
    let target = target(directory, runs: 100)
    let held = FileDescriptor(owning: try HistoryStore.open(target, nonce: 1).segment)
    for nonce in 1...1000 { try append(UInt64(nonce), to: target) }
    var runs = try #require(StoredProfile(path: target.path)).runs
    // The first segment is held; of the others those stay that have the last 100 runs.
    #expect((115...230).contains(runs.count) && runs[0].total.nonce == 1)
    #expect(runs.suffix(100).map(\.total.nonce) == (901...1000).map { UInt64($0) })
    _ = consume held
    for nonce in 1001...1100 { try append(UInt64(nonce), to: target) }
    runs = try #require(StoredProfile(path: target.path)).runs
    #expect(runs[0].total.nonce > 800)
    #expect((32...64).contains(HistoryStore.early(of: target).runs.count))
  }

  @Test func `a later supervisor gets what the first one of its run began, and nothing else`()
    throws
  {
    let directory = try TemporaryDirectory()
    let target = target(directory)
    try append(1, to: target)
    let again = try HistoryStore.open(target, nonce: 1, isFirst: false)
    close(again.segment)
    #expect(throws: SystemError.self) { try HistoryStore.open(target, nonce: 2, isFirst: false) }
    let other = self.target(directory, "other")
    #expect(throws: SystemError.self) { try HistoryStore.open(other, nonce: 1, isFirst: false) }
    #expect(access(other.path, F_OK) != 0)
  }

  @Test func `what is too old goes, of other profiles once a day, and so does an empty one`() throws
  {
    let directory = try TemporaryDirectory()
    let old = target(directory, "old", keep: 100)
    try append(1, to: old)
    let past = timespec(tv_sec: time(nil) - 90_000, tv_nsec: 0)
    for path in [old.path + "/1", old.directory + "/.swept"] {
      #expect(utimensat(AT_FDCWD, path, [past, past], 0) == 0)
    }
    try append(2, to: target(directory, "new", keep: 100))
    #expect(try HistoryStore(path: old.directory).profiles().map(\.name) == ["new"])
  }

  @Test func `of traces the last eight are kept`() throws {
    let directory = try TemporaryDirectory()
    let target = target(directory, isTraced: true)
    for nonce in 1...80 { try append(UInt64(nonce), to: target) }
    #expect(try #require(StoredProfile(path: target.path)).traces.count <= 8 + 64)
    HistoryStore.retire(try FileDescriptor.open(target.path, O_RDONLY | O_DIRECTORY), target)
    #expect(try #require(StoredProfile(path: target.path)).traces.count == 8)
  }

  /// A crash, or a full disk, may keep any beginning of what was written last.
  @Test func `whatever was cut off, the record before it and the next one count`() throws {
    let directory = try TemporaryDirectory()
    let target = target(directory)
    var records: [RunRecord] = []
    for (nonce, duration) in [(1, 10), (2, 20), (2, 30)] as [(UInt64, Int64)] {
      var record = RunRecord(nonce: nonce, started: 1, period: 100_000_000)
      (record.duration, record.usedCPU) = (duration, 5 * duration)
      record.cpu.add(300_000_000, times: UInt32(duration))
      records.append(record)
    }
    var whole: [UInt8] = []
    for record in records {
      var bytes = [UInt8](repeating: 0, count: RunRecord.size)
      bytes.withUnsafeMutableBytes { record.encode(into: $0) }
      whole += bytes
    }
    try append(9, to: target)
    for length in 0...whole.count {
      try FileDescriptor.open(target.path + "/1", O_WRONLY | O_CREAT | O_TRUNC)
        .write(Array(whole.prefix(length)))
      try append(3, to: target)
      let profile = try #require(StoredProfile(path: target.path))
      let durations = Dictionary(
        uniqueKeysWithValues: profile.runs.map { ($0.total.nonce, $0.total.duration) })
      let expected: [UInt64: Int64] =
        switch length / RunRecord.size {
        case 0: [3: 1]
        case 1: [1: 10, 3: 1]
        case 2: [1: 10, 2: 20, 3: 1]
        default: [1: 10, 2: 30, 3: 1]
        }
      #expect(durations == expected, "\(length) bytes")
      #expect(profile.isDamaged == (length % RunRecord.size != 0))
      #expect(HistoryStore.early(of: target).runs.contains { $0.nonce == 3 })
    }
  }

  @Test func `a file that is no history costs itself alone`() throws {
    let directory = try TemporaryDirectory()
    let target = target(directory)
    try append(1, to: target)
    for (name, make) in [
      ("2", { mkfifo($0, 0o600) }), ("3", { mkdir($0, 0o700) }),
      ("4", { symlink("/dev/zero", $0) }),
    ] as [(String, (String) -> CInt)] {
      #expect(make(target.path + "/" + name) == 0)
    }
    try FileDescriptor.open(target.path + "/5", O_WRONLY | O_CREAT).write("ESHR and nonsense")
    let profile = try #require(StoredProfile(path: target.path))
    #expect(profile.runs.map(\.total.nonce) == [1] && profile.isDamaged)
    #expect(HistoryStore.early(of: target).isDamaged)
  }
}

@Suite struct ProfileTargetTests {
  @Test func `equal names are different profiles for different owners`() {
    func target(_ user: UInt32, _ root: String, _ namespace: String?) -> ProfileTarget {
      ProfileTarget(
        profile: "web", user: user, root: root, namespace: namespace, directory: "/h", runs: 1,
        keep: 1, isTraced: false)
    }
    let all = [
      target(0, "/run/runc", nil), target(1000, "/run/runc", nil), target(0, "/run/docker", nil),
      target(0, "/run/runc", "shop"), target(0, "/run/runc", "a\nuser=1000"),
    ]
    #expect(Set(all.map(\.path)).count == all.count)
    #expect(all.allSatisfy { $0.path.hasPrefix("/h/") && $0.path.count == 3 + 64 })
  }

  @Test func `a newcomer is charged what it needed, and let in with no less if that is asked for`()
  {
    let share = MemberRecord.Share(declared: 100, floor: 10, ceiling: 200)
    #expect(share.predicted(nil, admits: true) == share)
    #expect(share.predicted(40, admits: false).declared == 40)
    #expect(share.predicted(40, admits: false).floor == 10)
    #expect(share.predicted(40, admits: true).floor == 40)
    #expect(share.predicted(5, admits: true).declared == 10)
    #expect(share.predicted(500, admits: true).declared == 100)
  }
}
