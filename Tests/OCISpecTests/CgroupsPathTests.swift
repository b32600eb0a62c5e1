// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec

@Suite struct CgroupsPathTests {
  @Test(arguments: [
    ("/a/b", "b", "/a/b"), ("/b", "b", "/b"), ("a/b", "b", nil), (nil, "ID", nil), ("", "ID", nil),
    // Not systemd's, whatever it looks like.
    ("system.slice:docker:1", "system.slice:docker:1", nil),
  ])
  func `is a path`(text: String?, name: String, path: String?) {
    let found = CgroupsPath(text, id: "ID", isSystemds: false)
    #expect(found.name == name && found.path == path)
  }

  @Test(arguments: [
    ("system.slice:docker:1", "docker-1.scope", "/system.slice/docker-1.scope"),
    (":cri:1", "cri-1.scope", "/system.slice/cri-1.scope"),
    ("a-b-c.slice:x:1", "x-1.scope", "/a.slice/a-b.slice/a-b-c.slice/x-1.scope"),
    ("-.slice:x:1", "x-1.scope", "/x-1.scope"),
    ("a.slice::1", "1.scope", "/a.slice/1.scope"),
    ("a.slice:x:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
    (nil, "ID.scope", nil), ("", "ID.scope", nil),
    // What the low-level runtime will refuse.
    ("a--b.slice:x:1", "x-1.scope", nil), ("a:x:1", "x-1.scope", nil), ("/a/b", "b", "/a/b"),
  ])
  func `is a scope of systemd's`(text: String?, name: String, path: String?) {
    let found = CgroupsPath(text, id: "ID", isSystemds: true)
    #expect(found.name == name && found.path == path)
  }
}
