// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import Quantities

@Suite struct ExpectedGroupTests {
  @Test(arguments: [
    ("/a/b", "/x/y", "/a/b", "/a/b"), ("", "/x/y", "/x/y/web", "/x/web"),
    ("own", "/x", "/x/own", "/own"), ("", "/", "/web", "/web"),
  ])
  func `a container's group is where the low-level runtime makes it`(
    path: String, own: String, v1: String, v2: String
  ) {
    #expect(ExpectedGroup.path(path, id: "web", own: own, .v1) == v1)
    #expect(ExpectedGroup.path(path, id: "web", own: own, .v2) == v2)
  }

  @Test(
    arguments: [
      ("", false, "/usr/sbin/runc", "/x/web"), ("a/b", false, "/usr/sbin/runc", "/x/a/b"),
      ("", false, "/usr/bin/crun", "/web"), ("a/b", false, "/usr/bin/crun", "/a/b"),
      ("", true, "/usr/sbin/runc", "system.slice:runc:web"),
      ("", true, "/usr/bin/crun", "system.slice:crun:web"),
      ("a/b", true, "/usr/sbin/runc", nil), ("", false, "/opt/other", nil),
    ] as [(String, Bool, String, String?)])
  func `a place that config.json does not name is that of the low-level runtime`(
    path: String, isSystemds: Bool, runtime: String, named: String?
  ) {
    #expect(
      ExpectedGroup.named(
        path, id: "web", isSystemds: isSystemds, runtime: runtime, own: "/x/y") == named)
  }

  @Test(arguments: [
    ("system.slice:docker:web", "/system.slice/docker-web.scope"),
    ("a-b-c.slice:docker:web", "/a.slice/a-b.slice/a-b-c.slice/docker-web.scope"),
    ("-.slice:docker:web", "/docker-web.scope"), ("", "/system.slice/docker-web.scope"),
    (":docker:web", "/system.slice/docker-web.scope"),
  ])
  func `a scope is in its slice, and that in those that its name tells`(
    path: String, group: String
  ) {
    #expect(ExpectedGroup.systemdPath(path, unit: "docker-web.scope", .v2) == group)
  }

  @Test(arguments: [
    ("/usr/sbin/runc", "runc-web.scope"), ("/usr/bin/crun", "crun-web.scope"),
    ("/opt/runc-1.2", "runc-web.scope"), ("/opt/other", "runc-web.scope"),
  ])
  func `without a path the scope has the low-level runtime's name before the id`(
    runtime: String, unit: String
  ) {
    #expect(ExpectedGroup.unitWithoutPath(id: "web", runtime: runtime) == unit)
  }
}
