// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Syscalls
@testable import escra_runc

@Suite struct LowLevelRuntimeTests {
  /// A machine on which only the named paths are anything.
  private func find(
    _ present: [String: LowLevelRuntime.Candidate], configured: [String] = [],
    path: String? = nil
  ) throws(NoRuntime) -> String {
    try LowLevelRuntime.find(
      configured: configured, builtIn: ["/usr/bin/runc", "/usr/bin/crun"], searchPath: path,
      probe: { present[$0] ?? .missing })
  }

  @Test func `the operator's list comes first, in its order`() throws {
    let all: [String: LowLevelRuntime.Candidate] = [
      "/opt/a": .usable, "/opt/b": .usable, "/usr/bin/runc": .usable,
    ]
    #expect(try find(all, configured: ["/opt/b", "/opt/a"]) == "/opt/b")
    #expect(try find(all, configured: ["/opt/none", "/opt/a"]) == "/opt/a")
    #expect(try find(all, configured: ["/opt/none"]) == "/usr/bin/runc")
    #expect(try find(all) == "/usr/bin/runc")
  }

  @Test func `this program is never its own runtime`() throws {
    let all: [String: LowLevelRuntime.Candidate] = [
      "/usr/bin/runc": .unusable("escra-runc itself"), "/usr/bin/crun": .usable,
    ]
    #expect(try find(all) == "/usr/bin/crun")
  }

  @Test(arguments: [
    ("/sbin:/opt/bin", "/opt/bin/runc"), ("/opt/crun:/opt/bin", "/opt/bin/runc"),
    ("/opt/crun", "/opt/crun/crun"), ("::opt:.:/opt/bin", "/opt/bin/runc"),
  ])
  func `PATH is searched last, for runc before crun`(path: String, found: String) throws {
    #expect(
      try find(["/opt/bin/runc": .usable, "/opt/crun/crun": .usable], path: path) == found)
  }

  @Test(arguments: [nil, "", ":", "bin:.", "/sbin"])
  func `with nothing to be found the error says what was tried`(path: String?) {
    let expected = NoRuntime(tried: [
      "runc (not an absolute path)", "/opt/x (not executable)", "/usr/bin/runc (ENOENT)",
      "/usr/bin/crun (ENOENT)",
    ])
    #expect(throws: expected) {
      try find(
        ["/opt/x": .unusable("not executable")],
        configured: ["runc", "/opt/x", "/usr/bin/runc"], path: path)
    }
    #expect(
      expected.description
        == "found no low-level runtime; tried runc (not an absolute path), "
        + "/opt/x (not executable), /usr/bin/runc (ENOENT), /usr/bin/crun (ENOENT), and runc and "
        + "crun in $PATH; install runc, or name yours under \"runtimes\" in the operator's "
        + "configuration")
  }

  @Test(
    arguments: [
      ("/proc/self/exe", .unusable("escra-runc itself")), ("/", .unusable("not a regular file")),
      ("/etc/passwd", .unusable("not executable")), ("/nowhere/runc", .missing),
      ("/etc/passwd/runc", .missing), ("/bin/sh", .usable),
    ] as [(String, LowLevelRuntime.Candidate)])
  func `a path is looked at through its links`(
    path: String, candidate: LowLevelRuntime.Candidate
  ) {
    #expect(RuntimeProbe().candidate(path) == candidate)
  }

  @Test func `a copy of this program in runc's place is known by its size`() throws {
    let path = "/tmp/escra-copy-\(getpid())"
    defer { unlink(path) }
    let size = try FileStatus.following("/proc/self/exe").size
    do {
      let copy = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o755)
      #expect(ftruncate(copy.number, size) == 0)
    }
    #expect(RuntimeProbe().candidate(path) == .unusable("a copy of escra-runc"))
    #expect(truncate(path, size + 1) == 0)
    #expect(RuntimeProbe().candidate(path) == .usable)
  }
}
