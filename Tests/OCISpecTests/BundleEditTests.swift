// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import OCISpec
@testable import Quantities
@testable import Syscalls

@Suite struct BundleEditTests {
  private static let before = "{\"before\": 18446744073709551615}\n"
  private static let after = "{\"after\": 1}\n"

  /// What a crash throws: no clean-up runs behind it, as none runs behind SIGKILL.
  private static let crash = ConfigError.busy(path: "crashed")

  /// A bundle whose config.json has a mode, an owner and a time of its own.
  private func bundle() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.write(Self.before)
    let path = "\(scratch.path)/config.json"
    if geteuid() == 0 { chown(path, 1234, 5678) }
    chmod(path, 0o640)
    var times = [timespec(tv_sec: 1_000_000, tv_nsec: 7), timespec(tv_sec: 2_000_000, tv_nsec: 9)]
    utimensat(AT_FDCWD, path, &times, 0)
    return scratch
  }

  private func modified(_ scratch: borrowing Scratch) throws -> Int {
    var status = stat()
    #expect(lstat("\(scratch.path)/config.json", &status) == 0)
    return status.st_mtim.tv_sec
  }

  /// Runs an edit up to a step.
  private func edit(
    _ scratch: borrowing Scratch, until last: BundleEdit.Step? = nil, canLink: Bool = true
  ) throws {
    let edit = try Bundle(scratch.path).edit()
    try? edit.replace(with: Array(Self.after.utf8), canLink: canLink) {
      (step) throws(ConfigError) in
      if step == last { throw Self.crash }
    }
  }

  /// Other tests of this process fork, and a child has every lock until it executes something.
  private static let patience: Nanoseconds = 10_000_000_000

  @discardableResult
  private func heal(_ scratch: borrowing Scratch) throws -> BundleEdit.Healing {
    try Bundle(scratch.path).heal(timeout: Self.patience)
  }

  /// Runs a put-back up to a step.
  private func putBack(_ scratch: borrowing Scratch, until last: BundleEdit.Step? = nil) throws {
    let edit = try Bundle(scratch.path).lock(within: Self.patience, creating: false)
    _ = try? edit?.putBack(keepingRecord: false) { (step) throws(ConfigError) in
      if step == last { throw Self.crash }
    }
  }

  @Test func `an edit keeps mode and owner, and the original comes back as it was`() throws {
    let scratch = try bundle()
    let original = try #require(try scratch.status())
    let edit = try Bundle(scratch.path).edit()
    try edit.replace(with: Array(Self.after.utf8))
    #expect(try scratch.read() == Self.after)
    let edited = try #require(try scratch.status())
    #expect(edited.mode == original.mode)
    #expect(edited.user == original.user && edited.group == original.group)
    #expect(edited.identity != original.identity)
    #expect(try edit.putBack() == .restored)
    #expect(try scratch.status() == original)
    #expect(try scratch.read() == Self.before)
    #expect(try modified(scratch) == 2_000_000)
    #expect(try scratch.entries() == ["config.json"])
    #expect(try edit.putBack() == .nothing)
  }

  @Test(arguments: BundleEdit.Step.allCases, [true, false])
  func `a crash after any step of an edit is healed on the next touch`(
    _ step: BundleEdit.Step, _ canLink: Bool
  ) throws {
    let scratch = try bundle()
    let original = try #require(try scratch.status())
    try edit(scratch, until: step, canLink: canLink)
    // Whoever reads in between sees a whole document, and the edit only once it is complete.
    let complete: [BundleEdit.Step] =
      [
        .replaced, .mergeCreated, .mergeWritten, .putBack, .putBackSynced, .leftOversRemoved,
      ] + (canLink ? [.originalCopied] : [])
    let isEdited = complete.contains(step)
    #expect(try scratch.read() == (isEdited ? Self.after : Self.before))
    #expect(try (heal(scratch) == .restored) == isEdited)
    try expectOriginal(scratch, original, sameInode: canLink)
    #expect(try heal(scratch) == .nothing)
  }

  @Test(arguments: BundleEdit.Step.allCases, BundleEdit.Step.allCases)
  func `a crash of the edit and then of the put-back is healed as well`(
    _ first: BundleEdit.Step, _ second: BundleEdit.Step
  ) throws {
    for canLink in [true, false] {
      let scratch = try bundle()
      let original = try #require(try scratch.status())
      try edit(scratch, until: first, canLink: canLink)
      try putBack(scratch, until: second)
      try heal(scratch)
      try expectOriginal(scratch, original, sameInode: canLink)
    }
  }

  private func expectOriginal(
    _ scratch: borrowing Scratch, _ original: FileStatus, sameInode: Bool
  ) throws {
    let status = try #require(try scratch.status())
    #expect(try scratch.read() == Self.before)
    #expect(status.mode == original.mode)
    #expect(status.user == original.user && status.group == original.group)
    #expect(try modified(scratch) == 2_000_000)
    if sameInode { #expect(status.identity == original.identity) }
    #expect(try scratch.entries() == ["config.json"])
  }

  @Test(arguments: [true, false])
  func `every crash point is reached`(_ canLink: Bool) throws {
    let scratch = try bundle()
    var seen: [BundleEdit.Step] = []
    let edit = try Bundle(scratch.path).edit()
    try edit.replace(with: Array(Self.after.utf8), canLink: canLink) {
      (step) throws(ConfigError) in seen.append(step)
    }
    _ = try edit.putBack(keepingRecord: false) { (step) throws(ConfigError) in seen.append(step) }
    #expect(
      seen
        == BundleEdit.Step.allCases.filter {
          ![.mergeCreated, .mergeWritten].contains($0) && (!canLink || $0 != .originalCopied)
        })
  }

  @Test func `an edit that writes what was there before is put back as well`() throws {
    for step in BundleEdit.Step.allCases {
      let scratch = try bundle()
      let original = try scratch.status()
      do {
        let edit = try Bundle(scratch.path).edit()
        try? edit.replace(with: Array(Self.before.utf8)) { (now) throws(ConfigError) in
          if now == step { throw Self.crash }
        }
      }
      try heal(scratch)
      #expect(try scratch.status() == original)
      #expect(try scratch.entries() == ["config.json"])
    }
  }

  @Test func `the next edit starts from the original`() throws {
    let scratch = try bundle()
    try edit(scratch)
    #expect(try scratch.read() == Self.after)
    let bundle = try Bundle(scratch.path)
    let edit = try bundle.edit()
    #expect(try bundle.config() == Array(Self.before.utf8))
    for quota: Int64 in [2000, 3000] {
      try edit.apply(ConfigEdit(cpuQuota: quota), to: ConfigDocument(try bundle.config()))
      #expect(try scratch.read().contains("\"quota\":\(quota)"))
    }
    #expect(try !scratch.read().contains("2000"))
    try edit.putBack()
    #expect(try scratch.read() == Self.before)
  }

  @Test func `what somebody else has written since stays`() throws {
    let replaced = try bundle()
    try edit(replaced)
    try replaced.write("{\"new\":1}", to: "other")
    rename("\(replaced.path)/other", "\(replaced.path)/config.json")
    #expect(try heal(replaced) == .superseded)
    #expect(try replaced.read() == "{\"new\":1}")
    #expect(try replaced.entries() == ["config.json"])

    let overwritten = try bundle()
    try edit(overwritten)
    // Of the same length, so that only the hash can tell.
    try overwritten.write("{\"other\": 2}\n".replacing("other", with: "aftor"))
    #expect(try heal(overwritten) == .superseded)
    #expect(try overwritten.read() == "{\"aftor\": 2}\n")

    let removed = try bundle()
    try edit(removed)
    unlink("\(removed.path)/config.json")
    #expect(try heal(removed) == .superseded)
    #expect(try removed.entries().isEmpty)
  }

  @Test(arguments: [true, false])
  func `a symbolic link is itself put back, or else not touched`(_ canLink: Bool) throws {
    let scratch = try Scratch()
    try scratch.write(Self.before, to: "real.json")
    symlink("real.json", "\(scratch.path)/config.json")
    let link = try #require(try scratch.status())
    let edit = try Bundle(scratch.path).edit()
    if canLink {
      try edit.replace(with: Array(Self.after.utf8))
      #expect(try scratch.read() == Self.after)
      #expect(try scratch.read("real.json") == Self.before)
      #expect(try edit.putBack() == .restored)
    } else {
      #expect(throws: ConfigError.symbolicLink(path: "\(scratch.path)/config.json")) {
        try edit.replace(with: Array(Self.after.utf8), canLink: false)
      }
      #expect(try edit.putBack() == .untouched)
    }
    #expect(try scratch.status() == link)
    #expect(try scratch.read() == Self.before)
    #expect(try scratch.entries() == ["config.json", "real.json"])
  }

  @Test func `an edit that fails leaves nothing behind`() throws {
    let scratch = try bundle()
    let edit = try Bundle(scratch.path).edit()
    try scratch.write("in the way", to: ".config.json.escra-orig")
    let document = try ConfigDocument(Array(Self.before.utf8))
    #expect(throws: ConfigError.self) { try edit.apply(ConfigEdit(cpuQuota: 1), to: document) }
    #expect(try scratch.read() == Self.before)

    let directory = try Scratch()
    mkdir("\(directory.path)/config.json", 0o700)
    let second = try Bundle(directory.path).edit()
    #expect(throws: ConfigError.notAFile(path: "\(directory.path)/config.json")) {
      try second.apply(ConfigEdit(cpuQuota: 1), to: document)
    }
    #expect(try directory.entries() == ["config.json"])
  }

  @Test(arguments: [
    "", "escra-edit 3 0000000000000000 1\n", "escra-edit 2 0000000000000000 1 x=1\n", "garbage\n",
  ])
  func `a copy whose record cannot be read is left to a person`(_ record: String) throws {
    let scratch = try bundle()
    try edit(scratch)
    try scratch.write(record, to: ".config.json.escra-edit")
    #expect(throws: ConfigError.unknownEdit(path: scratch.path, config: "config.json")) {
      try heal(scratch)
    }
    #expect(try scratch.read() == Self.after)
    #expect(try scratch.read(".config.json.escra-orig") == Self.before)
  }

  @Test func `the lock holds until the last copy of its descriptor is closed`() throws {
    let scratch = try bundle()
    let bundle = try Bundle(scratch.path)
    func isBusy() -> Bool {
      do throws(ConfigError) {
        _ = try Bundle(scratch.path).edit(timeout: 10_000_000)
        return false
      } catch { return error == .busy(path: scratch.path) }
    }
    do {
      let handedOn: FileDescriptor
      do {
        let edit = try bundle.edit()
        try edit.replace(with: Array(Self.after.utf8))
        handedOn = try edit.lock.duplicate()
        #expect(isBusy())
      }
      #expect(isBusy())
      #expect(throws: ConfigError.busy(path: scratch.path)) { try bundle.heal() }
      #expect(try scratch.read() == Self.after)
      let holder = BundleEdit(
        holding: try bundle.directory.duplicate(), lock: handedOn, path: bundle.path, config: nil)
      #expect(try holder.putBack() == .restored)
    }
    _ = try Bundle(scratch.path).edit()
    #expect(try scratch.entries() == ["config.json"])
  }

  @Test func `the lock cannot be taken by a process that may only read the bundle`() throws {
    let scratch = try bundle()
    let reader = try FileDescriptor.open(scratch.path, O_RDONLY | O_DIRECTORY)
    #expect(try reader.lock(wait: false))
    let edit = try Bundle(scratch.path).edit(timeout: 0)
    // What it locks instead nobody else may open.
    let mode = try #require(try scratch.status(".config.json.escra-edit")).mode
    #expect(mode & 0o777 == 0o600)
    try edit.replace(with: Array(Self.after.utf8))
    #expect(try edit.putBack() == .restored)
  }

  @Test func `a lock without an edit leaves nothing behind`() throws {
    let scratch = try bundle()
    do {
      _ = try Bundle(scratch.path).edit()
      #expect(throws: Never.self) { try Bundle(scratch.path).heal(timeout: Self.patience) }
    }
    #expect(try scratch.entries() == ["config.json"])
  }

  // MARK: another program

  private static let declared = #"{"linux":{"resources":{"cpu":{"quota":50000,"shares":2}}}}"#
  private static let rewritten =
    #"{ "process": {"env": ["A=1"]}, "linux": {"resources": {"cpu": {"quota": 30000, "shares": 2}}} }"#

  /// A bundle that was edited and then rewritten with another member.
  private func rewrittenBundle(
    _ original: String = declared, _ edit: ConfigEdit = ConfigEdit(cpuQuota: 30_000),
    by rewrite: (String) -> String = { _ in rewritten }
  ) throws -> Scratch {
    let scratch = try bundle()
    try scratch.write(original)
    let bundle = try Bundle(scratch.path)
    let edit_ = try bundle.edit()
    try edit_.apply(edit, to: ConfigDocument(try bundle.config()))
    try scratch.write(rewrite(try scratch.read()))
    return scratch
  }

  @Test func `of a file that was rewritten only our own members are put back`() throws {
    let scratch = try rewrittenBundle()
    #expect(try heal(scratch) == .merged)
    #expect(try scratch.read() == Self.rewritten.replacing("30000", with: "50000"))
    #expect(try scratch.entries() == ["config.json"])
    #expect(try heal(scratch) == .nothing)
  }

  @Test func `what another program has set instead of ours stays`() throws {
    let other = Self.rewritten.replacing("30000", with: "30001")
    let scratch = try rewrittenBundle { _ in other }
    #expect(try heal(scratch) == .superseded)
    #expect(try scratch.read() == other)
  }

  @Test(arguments: [
    "{}", #"{"linux":{}}"#, #"{"linux":{"resources":{}}}"#,
    #"{"linux":{"resources":{"cpu":{}}}}"#, #"{"linux":{"resources":{"cpu":{"shares":2}}}}"#,
    #"{"linux":{"resources":{"cpu":{"shares":2},"memory":{"swap":7}}},"x":1}"#,
  ])
  func `what was not declared goes, with the objects that were made for it`(
    original: String
  ) throws {
    let edit = ConfigEdit(
      cpuQuota: 30_000, cpuPeriod: 100_000, cpus: "0-1", memoryLimit: 1 << 20, memorySwap: 9)
    // Another member in front, and white space everywhere.
    let scratch = try rewrittenBundle(original, edit) { text in
      "{\"first\": [1],"
        + text.dropFirst().replacing(":", with: " :\n ").replacing(",", with: " , ")
    }
    #expect(try heal(scratch) == .merged)
    let found = try scratch.read().filter { !" \n".contains($0) }
    let expected = original == "{}" ? "{\"first\":[1]}" : "{\"first\":[1]," + original.dropFirst()
    #expect(found == expected || found == expected.replacing("]}", with: "],}"))
    _ = try ConfigDocument(Array(try scratch.read().utf8))
  }

  @Test(arguments: BundleEdit.Step.allCases, BundleEdit.Step.allCases)
  func `a crash while members are put back is healed as well`(
    _ first: BundleEdit.Step, _ second: BundleEdit.Step
  ) throws {
    let scratch = try rewrittenBundle()
    try putBack(scratch, until: first)
    try putBack(scratch, until: second)
    try heal(scratch)
    #expect(try scratch.read() == Self.rewritten.replacing("30000", with: "50000"))
    #expect(try scratch.entries() == ["config.json"])
  }

  @Test func `another name for the config has an edit of its own`() throws {
    let scratch = try bundle()
    try scratch.write(Self.declared, to: "my.json")
    let bundle = try Bundle(config: "\(scratch.path)/my.json")
    let edit = try bundle.edit()
    try edit.apply(ConfigEdit(cpuQuota: 1), to: ConfigDocument(try bundle.config()))
    #expect(
      try scratch.entries() == [
        ".my.json.escra-edit", ".my.json.escra-orig", "config.json", "my.json",
      ])
    #expect(try scratch.read() == Self.before)
    #expect(try edit.putBack() == .restored)
    #expect(try scratch.read("my.json") == Self.declared)
  }

  @Test func `a lock that another process lets go in time is waited for`() throws {
    let scratch = try bundle()
    let bundle = try Bundle(scratch.path)
    var child = pid_t()
    do {
      let edit = try bundle.edit()
      try edit.replace(with: Array(Self.after.utf8))
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_adddup2(&actions, edit.lock.number, 100)
      let arguments = [strdup("sleep"), strdup("0.1"), nil]
      defer { for argument in arguments { free(argument) } }
      #expect(posix_spawn(&child, "/bin/sleep", &actions, nil, arguments, nil) == 0)
    }
    let start = monotonicNow()
    _ = try bundle.edit()
    #expect(monotonicNow() - start > 20_000_000)
    var status: CInt = 0
    waitpid(child, &status, 0)
  }

  @Test func `a record is read back as it was written`() throws {
    let record = EditRecord(of: Array("foobar".utf8))
    // The published test vector of FNV-1a, 64 bits.
    #expect(record.hash == 0x8594_4171_f739_67e8)
    #expect(EditRecord(record.text) == record)
    #expect(EditRecord(of: []).text == "escra-edit 2 cbf29ce484222325 0\n")
    #expect(EditRecord(String(record.text.dropLast())) == nil)
    let members = ConfigEdit(cpuQuota: -1, cpus: "0-1,3").members
    let named = EditRecord(of: [], members: members)
    #expect(named.text == "escra-edit 2 cbf29ce484222325 0 quota=-1 cpus=\"0-1,3\"\n")
    #expect(EditRecord(named.text) == named)
    // As the version before this one wrote it.
    #expect(EditRecord("escra-edit 1 cbf29ce484222325 0\n") == EditRecord(of: []))
  }
}
