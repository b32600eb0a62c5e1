// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles
import TestValues
import Testing

@testable import LiveLimits
@testable import Quantities

@Suite("What crun remembers of a container's CPU set")
struct RuntimeStatesTests {
  private let root: TemporaryDirectory

  init() throws { root = try TemporaryDirectory() }

  /// What crun 1.21 writes, but for what nobody reads.
  private func remember(_ status: String, cpus: String?) throws -> RuntimeStates {
    let resources = cpus.map { #"{"cpu": {"cpus": "\#($0)"}}"# } ?? "{}"
    mkdir(root.path + "/one", 0o700)
    try root.write(status, to: "one/status")
    try root.write(
      #"{"ociVersion": "1.0.0", "linux": {"resources": \#(resources)}}"#, to: "one/config.json")
    return RuntimeStates(roots: [root.path])
  }

  @Test("it is that of the copy of its configuration")
  func group() throws {
    let states = try remember(#"{"pid": 7, "cgroup-path": "/one", "scope": ""}"#, cpus: "0-1")
    #expect(states.cpus("/one") == CPUSet(list: "0-1"))
    #expect(states.cpus("/other") == nil)
  }

  @Test("with systemd the scope around its group has it as well, and nothing above")
  func scope() throws {
    let states = try remember(
      #"{"cgroup-path": "/a.slice/crun-one.scope/container", "scope": "crun-one.scope"}"#,
      cpus: "3")
    #expect(states.cpus("/a.slice/crun-one.scope/container") == CPUSet(list: "3"))
    #expect(states.cpus("/a.slice/crun-one.scope") == CPUSet(list: "3"))
    #expect(states.cpus("/a.slice") == nil)
  }

  @Test("a scope that is its group itself is not looked for above it")
  func oldScope() throws {
    let states = try remember(
      #"{"cgroup-path": "/a.slice/crun-one.scope", "scope": "crun-one.scope"}"#, cpus: "3")
    #expect(states.cpus("/a.slice/crun-one.scope") == CPUSet(list: "3"))
    #expect(states.cpus("/a.slice") == nil)
  }

  @Test("one that declares none, and a file that is none of crun's, say nothing")
  func nothing() throws {
    #expect(try remember(#"{"cgroup-path": "/one"}"#, cpus: nil).cpus("/one") == nil)
    #expect(try remember("Name: one", cpus: "0").cpus("/one") == nil)
  }
}
