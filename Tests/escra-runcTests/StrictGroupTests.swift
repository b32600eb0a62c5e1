// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_runc

@Suite struct StrictGroupTests {
  @Test(arguments: [
    ("/a/b", "/x/y", "/a/b", "/a/b"), ("", "/x/y", "/x/y/web", "/x/web"),
    ("own", "/x", "/x/own", "/own"), ("", "/", "/web", "/web"),
  ])
  func `a container's group is where the low-level runtime makes it`(
    path: String, own: String, v1: String, v2: String
  ) {
    #expect(StrictGroup.path(path, id: "web", own: own, isUnified: false) == v1)
    #expect(StrictGroup.path(path, id: "web", own: own, isUnified: true) == v2)
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
    #expect(StrictGroup.systemdPath(path, unit: "docker-web.scope") == group)
  }

  @Test(arguments: [
    ("/usr/sbin/runc", "runc-web.scope"), ("/usr/bin/crun", "crun-web.scope"),
    ("/opt/runc-1.2", "runc-web.scope"), ("/opt/other", "runc-web.scope"),
  ])
  func `without a path the scope has the low-level runtime's name before the id`(
    runtime: String, unit: String
  ) {
    #expect(StrictGroup.unitWithoutPath(id: "web", runtime: runtime) == unit)
  }
}
