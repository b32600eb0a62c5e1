// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import Testing

@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import Syscalls

private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

@Suite struct StateDirectoryTests {
  private let temporary: TemporaryDirectory
  private let root: StateRoot

  init() throws {
    temporary = try TemporaryDirectory()
    root = StateRoot(path: temporary.path + "/escra")
  }

  private func create(_ id: String) throws(SystemError) -> StateDirectory {
    try StateDirectory.create(in: root, root: "/run/runc", id: id)
  }

  /// Makes an instance whose supervisor has gone without a word.
  private func abandon(_ id: String) throws -> String { try create(id).path }

  private static func state(_ id: String) -> ContainerState {
    ContainerState(
      root: "/run/runc", id: id, bundle: "/b", policy: .reactive,
      runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
      base: CPUBase(
        declared: CFSBandwidth(quota: 50_000), floor: 1, explicitCeiling: nil, limit: 1_000_000_000)
    )
  }

  @Test func `a new instance is ours, and known to all`() throws {
    let directory = try create("web")
    let path = directory.path
    #expect(directory.isSupervised == true)
    #expect(root.instances() == [path])
    #expect(root.instances(in: root.directory(root: "/run/runc", id: "web")) == [path])
    #expect(root.instances(in: root.directory(root: "/run/runc", id: "other")) == [])
    #expect(try directory.descriptor.status().mode & 0o777 == 0o700)
    #expect(StateRoot(ofInstance: path).path == root.path)
  }

  @Test func `the same id again is another instance`() throws {
    let first = try create("web")
    let second = try create("web")
    #expect(first.path != second.path)
    #expect(Set(root.instances()) == [first.path, second.path])
    first.remove()
    #expect(root.instances() == [second.path])
    #expect(second.isSupervised == true)
  }

  @Test func `a container whose key collides is another one all the same`() throws {
    let own = try create("web")
    #expect(root.instances(root: "/run/runc", id: "web") == [own.path], "nothing is written yet")
    try own.save(Self.state("web"))
    #expect(root.instances(root: "/run/runc", id: "web") == [own.path])
    try own.save(Self.state("another"))
    #expect(root.instances(root: "/run/runc", id: "web") == [])
  }

  @Test func `an id means something only below its root`() {
    let keys = [("/run/runc", "a"), ("/run/runc", "b"), ("/run/crun", "a"), ("/run/run", "ca")]
      .map { root.directory(root: $0.0, id: $0.1) }
    #expect(Set(keys).count == 4)
    #expect(keys.allSatisfy { $0.utf8.count == root.containers.utf8.count + 17 })
  }

  @Test func `what another holds cannot be claimed, what nobody holds can`() throws {
    let holder = try create("web")
    let path = holder.path
    let other = try StateDirectory(opening: path)
    #expect(other.claim() == false)
    #expect(other.isSupervised == true)

    close(holder.release().release())
    // A child that some other test is just starting has a copy of the lock until its exec.
    #expect(eventually { other.claim() })
    #expect(other.isSupervised == true)
    #expect(try StateDirectory(opening: path).claim() == false)
  }

  @Test func `asking who supervises takes nothing away`() throws {
    let directory = try StateDirectory(opening: try abandon("web"))
    #expect(eventually { !directory.isSupervised })
    #expect(directory.claim() == true)
    #expect(directory.isSupervised == true)
  }

  @Test func `what was removed cannot be claimed`() throws {
    let path = try abandon("web")
    let late = try StateDirectory(opening: path)
    rmdir(path)
    #expect(late.claim() == false)
    #expect(late.isSupervised == false)
  }

  @Test func `what was removed and made again is another's`() throws {
    let path = try abandon("web")
    let late = try StateDirectory(opening: path)
    rmdir(path)
    #expect(mkdir(path, 0o700) == 0)
    #expect(late.claim() == false)
    #expect(try StateDirectory(opening: path).claim() == true)
  }

  @Test func `removal leaves no file, and only what others share`() throws {
    let directory = try create("web")
    try directory.save(Self.state("web"))
    _ = try Record(in: directory.descriptor)
    let listener = try ControlSocket.listen(on: "socket", in: directory.descriptor)
    try directory.descriptor.open("pid", O_WRONLY | O_CREAT).write("1")
    try directory.descriptor.open(".pid", O_WRONLY | O_CREAT).write("1")
    try directory.descriptor.open(".state", O_WRONLY | O_CREAT).write("torn")
    directory.remove()
    #expect(listener.isOpen == true)
    #expect(!exists(directory.path))
    #expect(!exists(root.directory(root: "/run/runc", id: "web")))
    #expect(exists(root.containers))
    #expect(root.instances() == [])
  }

  @Test func `a state is replaced as a whole, and read back by anybody`() throws {
    let directory = try create("web")
    #expect(directory.load() == nil)
    for id in ["web", "a longer name", "b"] {
      let state = Self.state(id)
      try directory.save(state)
      #expect(try StateDirectory(opening: directory.path).load() == state)
    }
    #expect(try directory.descriptor.entries().sorted() == [".spare.state", "state"])
    try directory.descriptor.open("state", O_WRONLY | O_TRUNC).write("version=1\nid=web\n")
    #expect(directory.load() == nil)
  }

  @Test func `a state that cannot be read is not one that is missing`() throws {
    let directory = try create("web")
    #expect(try directory.read() == nil)
    // One value: each that is made carries the clock of its making.
    let state = Self.state("web")
    try directory.save(state)
    #expect(try directory.read() == state)
    // Longer than any of ours: torn.
    try directory.descriptor.open("state", O_WRONLY | O_TRUNC)
      .write(String(repeating: "x", count: 70_000))
    #expect(try directory.read() == nil)
    try directory.descriptor.remove("state")
    #expect(symlink("state", directory.path + "/state") == 0)
    #expect(throws: SystemError.self) { _ = try directory.read() }
    #expect(directory.load() == nil)
  }

  @Test func `where the state cannot be, an error says so`() throws {
    let nowhere = StateRoot(path: temporary.path + "/no/escra")
    #expect(throws: SystemError("make directory", nowhere.path, errno: ENOENT)) {
      _ = try StateDirectory.create(in: nowhere, root: "/run/runc", id: "web")
    }
    #expect(nowhere.instances() == [])
    try temporary.write("", to: "file")
    let file = StateRoot(path: temporary.path + "/file")
    #expect(throws: SystemError("make directory", file.containers, errno: ENOTDIR)) {
      _ = try StateDirectory.create(in: file, root: "/run/runc", id: "web")
    }
  }

  @Test func `who connects is heard, and nobody is nobody`() throws {
    let directory = try create("web")
    #expect(throws: SystemError("connect to", "socket", errno: ENOENT)) {
      _ = try directory.connect()
    }
    let listener = try ControlSocket.listen(on: "socket", in: directory.descriptor)
    #expect(throws: SystemError("listen on", "socket", errno: EADDRINUSE)) {
      _ = try ControlSocket.listen(on: "socket", in: directory.descriptor)
    }
    let nobody = ControlSocket.accept(from: listener) == nil
    #expect(nobody)
    let caller = try directory.connect()
    guard let answerer = ControlSocket.accept(from: listener) else {
      Issue.record("nobody called")
      return
    }
    #expect(caller.send(.update(quota: 50_000, period: nil)) == true)
    #expect(answerer.receive() == .message(.update(quota: 50_000, period: nil)))
    #expect(answerer.send(.apply(CFSBandwidth(quota: 50_000))) == true)
    #expect(caller.receive(within: 1000) == .message(.apply(CFSBandwidth(quota: 50_000))))
  }

  @Test(arguments: [
    "/run/runc", "/run/runc/", "//run//runc", "/run/./runc/.", "/run/x/../runc", "/../run/runc",
  ])
  func `a root is the same one however it is spelt`(text: String) {
    #expect(StateRoot.runtimeRoot(text) == "/run/runc")
  }

  @Test func `a root is below the directory that the caller is in`() throws {
    let here = try #require(getcwd(nil, 0))
    defer { free(here) }
    #expect(StateRoot.runtimeRoot("x/./y") == String(cString: here) + "/x/y")
    #expect(StateRoot.runtimeRoot(".") == String(cString: here))
    #expect(StateRoot.runtimeRoot("/") == "/")
  }
}

@Suite struct ReplacedFileTests {
  private let temporary: TemporaryDirectory

  init() throws { temporary = try TemporaryDirectory() }

  private func directory() throws -> FileDescriptor {
    try FileDescriptor.open(temporary.path, O_RDONLY | O_DIRECTORY)
  }

  private func text(_ name: String) throws -> String {
    try FileDescriptor.text(of: temporary.path + "/" + name)
  }

  @Test func `a spare takes the place of a file where no new one can be made`() throws {
    let directory = try self.directory()
    try directory.replace("state", with: "a=1\n", by: ".state")
    try directory.reserve("state", bytes: 100)
    let spare = FileDescriptor.spare(of: "state")
    try directory.exchangeSpare(of: "state", for: "a=2\n")
    #expect(try text("state") == "a=2\n")
    #expect(try text(spare) == "a=1\n")
    try directory.exchangeSpare(of: "state", for: "a=3\nb=4\n")
    #expect(try text("state") == "a=3\nb=4\n")
  }

  @Test func `a spare that is too small, or not there, is none`() throws {
    let directory = try self.directory()
    try directory.replace("state", with: "a=1\n", by: ".state")
    #expect((try? directory.exchangeSpare(of: "state", for: "a=2\n")) == nil)
    try directory.reserve("state", bytes: 1)
    let long = String(repeating: "x", count: 5000)
    #expect((try? directory.exchangeSpare(of: "state", for: long)) == nil)
    #expect(try text("state") == "a=1\n")
    try directory.reserve("state", bytes: long.utf8.count)
    try directory.exchangeSpare(of: "state", for: long)
    #expect(try text("state") == long)
  }
}

@Suite struct PendingUpdateTests {
  private static let updates = [
    PendingUpdate(
      cpu: CFSBandwidth(quota: 60_000), applied: CFSBandwidth(quota: 5_000, period: 50_000),
      memory: -1,
      swap: 1 << 30),
    PendingUpdate(cpu: CFSBandwidth(quota: nil), applied: CFSBandwidth(quota: nil)),
    PendingUpdate(swap: -1),
  ]

  @Test(arguments: updates) func `is read back from the state`(
    update: PendingUpdate
  ) throws {
    var state = ContainerState(
      root: "/run/runc", id: "web", bundle: "/b", policy: .reactive,
      runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
      base: CPUBase(
        declared: CFSBandwidth(quota: 50_000), floor: 1, explicitCeiling: nil, limit: 1_000_000_000)
    )
    state.update = update
    #expect(try #require(ContainerState(text: state.text)).update == update)
  }

  @Test func `is what is declared once it was taken, and nothing when it was refused`() {
    var state = ContainerState(
      root: "/run/runc", id: "web", bundle: "/b", policy: .reactive,
      runtime: ProcessIdentity(pid: 1, startTicks: 1), pidFile: "/p",
      base: CPUBase(
        declared: CFSBandwidth(quota: 50_000), floor: 1, explicitCeiling: nil, limit: 1_000_000_000)
    )
    let before = state
    state.update = Self.updates[0]
    state.settleUpdate(isTaken: false)
    #expect(state == before)
    state.update = PendingUpdate(
      cpu: CFSBandwidth(quota: 60_000), applied: CFSBandwidth(quota: 5_000), memory: 1 << 20)
    state.settleUpdate(isTaken: true)
    #expect(state.base.declared == CFSBandwidth(quota: 60_000))
    #expect(state.base.told == CFSBandwidth(quota: 5_000))
    #expect(state.declaredMemory == 1 << 20 && state.update == nil)
  }
}
