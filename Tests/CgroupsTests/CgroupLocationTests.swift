// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import Cgroups
@testable import OCISpec
@testable import Quantities

/// The directories of a location by name; nil for none.
private func directories(_ membership: String, _ mounts: String) -> [String: String]? {
  guard let location = CgroupLocation(membership: membership, mounts: mounts) else { return nil }
  let all: [String: String?] = [
    "version": location.version.rawValue, "cpu": location.cpu, "cpuRoot": location.cpuRoot,
    "cpuacct": location.cpuacct, "memory": location.memory, "freezer": location.freezer,
    "perf": location.perf, "unified": location.unified,
  ]
  return all.compactMapValues { $0 }
}

/// A hybrid machine without systemd: each controller alone, cgroup2 beside them.
private let separateMounts = """
  23 1 254:0 / / rw,relatime - ext4 /dev/root rw
  31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
  32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
  33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
  34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
  35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
  37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
  40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw

  """

/// Systemd's hybrid layout, as on Ubuntu 20.04; without its last line also its legacy one.
private let systemdHybridMounts = """
  30 23 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
  32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
  36 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:16 - cgroup cgroup rw,cpu,cpuacct
  37 30 0:33 / /sys/fs/cgroup/cpuset rw,nosuid shared:17 - cgroup cgroup rw,cpuset,clone_children
  38 30 0:34 / /sys/fs/cgroup/perf_event rw,nosuid shared:18 - cgroup cgroup rw,perf_event
  39 30 0:35 / /sys/fs/cgroup/memory rw,nosuid shared:19 - cgroup cgroup rw,memory
  40 30 0:36 / /sys/fs/cgroup/freezer rw,nosuid shared:20 - cgroup cgroup rw,freezer
  31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
  """

private let unifiedMounts = """
  24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:2 - sysfs sysfs rw
  35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
  """

/// What /proc/PID/cgroup shows on systemd's hybrid layout of a process in `group`, and in
/// `unified` of the unified hierarchy.
private func systemdHybrid(_ group: String, unified: String) -> String {
  """
  12:freezer:\(group)
  8:memory:\(group)
  7:perf_event:\(group)
  5:cpuset:\(group)
  3:cpu,cpuacct:\(group)
  1:name=systemd:\(group)
  0::\(unified)

  """
}

@Suite struct CgroupLocationTests {
  @Test(arguments: [
    // Read-only as a mount, then as a file system; listed first, then last.
    "50 31 0:29 / /first ro,relatime - cgroup cgroup rw,cpu\n" + separateMounts,
    "50 31 0:29 / /first rw,relatime - cgroup cgroup ro,cpu\n" + separateMounts,
    separateMounts + "50 31 0:29 / /last ro,relatime - cgroup cgroup rw,cpu\n",
    // Covered by another mount: itself, then the directory that it is in.
    """
    50 23 0:29 / /first rw - cgroup cgroup rw,cpu
    51 50 0:60 / /first rw - tmpfs tmpfs rw

    """ + separateMounts,
    """
    50 23 0:29 / /first/cpu rw - cgroup cgroup rw,cpu
    51 23 0:60 / /first rw - tmpfs tmpfs rw

    """ + separateMounts,
    """
    49 23 0:60 / /first rw - tmpfs tmpfs rw
    50 49 0:29 / /first/cpu rw - cgroup cgroup rw,cpu
    51 49 0:61 / /first rw - tmpfs tmpfs rw

    """ + separateMounts,
  ])
  func `of several mounts of a hierarchy the one that can be seen and written counts`(
    mounts: String
  ) {
    let found = CgroupLocation(membership: "3:cpu:/c\n", mounts: mounts)
    #expect(found?.cpu == "/sys/fs/cgroup/cpu/c")
  }

  @Test func `a hierarchy that can only be read is better than none`() {
    let mounts = separateMounts.replacing("cpu rw,relatime", with: "cpu ro,relatime")
    #expect(
      CgroupLocation(membership: "3:cpu:/c\n", mounts: mounts)?.cpu == "/sys/fs/cgroup/cpu/c")
    #expect(CgroupMount.parse(mounts).first { $0.controllers.contains("cpu") }?.isReadOnly == true)
  }

  @Test func `on v1 each controller has a directory of its own`() {
    let membership = """
      9:name=systemd:/demo
      6:freezer:/demo
      4:memory:/demo
      3:cpuset:/demo
      2:cpuacct:/demo
      1:cpu:/demo
      0::/demo

      """
    #expect(
      directories(membership, separateMounts) == [
        "version": "v1", "cpu": "/sys/fs/cgroup/cpu/demo", "cpuRoot": "/sys/fs/cgroup/cpu",
        "cpuacct": "/sys/fs/cgroup/cpuacct/demo", "memory": "/sys/fs/cgroup/memory/demo",
        "freezer": "/sys/fs/cgroup/freezer/demo", "unified": "/sys/fs/cgroup/unified/demo",
        "perf": "/sys/fs/cgroup/unified/demo",
      ])
  }

  @Test func `controllers that share a mount share a directory, and v1's perf_event wins`() {
    let scope = "/system.slice/docker-3f9c.scope"
    #expect(
      directories(systemdHybrid(scope, unified: scope), systemdHybridMounts) == [
        "version": "v1", "cpu": "/sys/fs/cgroup/cpu,cpuacct" + scope,
        "cpuRoot": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct" + scope,
        "memory": "/sys/fs/cgroup/memory" + scope, "freezer": "/sys/fs/cgroup/freezer" + scope,
        "unified": "/sys/fs/cgroup/unified" + scope, "perf": "/sys/fs/cgroup/perf_event" + scope,
      ])
  }

  @Test func `the root of the unified hierarchy is no container's`() {
    let found = directories(systemdHybrid("/docker/3f9c", unified: "/"), systemdHybridMounts)
    #expect(found?["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/docker/3f9c")
    #expect(found?["unified"] == nil)
  }

  @Test func `an engine's unified group is not its container's`() {
    let found = directories(
      systemdHybrid("/docker/3f9c", unified: "/system.slice/containerd.service"),
      systemdHybridMounts)
    #expect(found?["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/docker/3f9c")
    #expect(found?["unified"] == nil)
    #expect(found?["perf"] == "/sys/fs/cgroup/perf_event/docker/3f9c")
  }

  @Test func `without cgroup2 there is no unified directory`() {
    let legacyMounts = systemdHybridMounts.split(separator: "\n").dropLast()
      .joined(separator: "\n")
    let membership = systemdHybrid("/docker/3f9c", unified: "/")
    #expect(
      directories(membership, legacyMounts) == [
        "version": "v1", "cpu": "/sys/fs/cgroup/cpu,cpuacct/docker/3f9c",
        "cpuRoot": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/docker/3f9c",
        "memory": "/sys/fs/cgroup/memory/docker/3f9c",
        "freezer": "/sys/fs/cgroup/freezer/docker/3f9c",
        "perf": "/sys/fs/cgroup/perf_event/docker/3f9c",
      ])
  }

  @Test func `a perf_event root is not taken, even where the unified group is the container's`() {
    let membership = systemdHybrid("/a", unified: "/a").split(separator: "\n")
      .map { $0 == "7:perf_event:/a" ? "7:perf_event:/" : String($0) }.joined(separator: "\n")
    #expect(directories(membership, systemdHybridMounts)?["perf"] == nil)
  }

  @Test func `on v2 one directory has it all`() {
    let path = "/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cri-containerd-3f9c.scope"
    #expect(
      directories(
        "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-3f9c.scope\n", unifiedMounts) == [
          "version": "v2", "cpu": path, "cpuRoot": "/sys/fs/cgroup", "memory": path, "perf": path,
          "unified": path,
        ])
  }

  @Test func `on v2 perf events are counted on v1 where somebody has mounted it`() {
    let mounts =
      unifiedMounts + "\n50 24 0:44 / /mnt/perf rw,relatime - cgroup none rw,perf_event\n"
    #expect(directories("3:perf_event:/a\n0::/a\n", mounts)?["perf"] == "/mnt/perf/a")
    #expect(directories("3:perf_event:/\n0::/a\n", mounts)?["perf"] == nil)
    #expect(directories("3:perf_event:/\n0::/a\n", mounts)?["version"] == "v2")
  }

  @Test(arguments: [
    ("0::/\n", unifiedMounts), ("1:cpu:/\n2:memory:/a\n0::/a\n", separateMounts),
    // Nothing mounted, nothing said, nothing that can be read.
    ("0::/a\n", ""), ("", unifiedMounts), ("1:cpu:/a\n", unifiedMounts), ("cpu:/a", unifiedMounts),
    ("0::/a\n", "35 24 0:30 / /sys/fs/cgroup rw cgroup2 cgroup2 rw\n"),
    ("0::/a\n", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2\n"), ("0::/a\n", "- cgroup2 cgroup2 rw"),
    // The cpu controller is v1's, and not mounted here: cgroup2 does not have it.
    ("1:cpu,cpuacct:/a\n0::/a\n", unifiedMounts),
  ])
  func `nobody's container has no location`(membership: String, mounts: String) {
    #expect(directories(membership, mounts) == nil)
  }

  @Test(arguments: [
    (separateMounts, "/sys/fs/cgroup/cpu/pod"), (unifiedMounts, "/sys/fs/cgroup/pod"),
    (systemdHybridMounts, "/sys/fs/cgroup/cpu,cpuacct/pod"),
  ])
  func `a group that is yet to be made is where the cpu controller is`(
    mounts: String, parent: String
  ) {
    #expect(CgroupLocation(group: "/pod/c1", mounts: mounts)?.cpu == parent + "/c1")
    #expect(CgroupLocation(group: "/pod/c1", mounts: mounts)?.ancestors == [parent])
    #expect(CgroupLocation(group: "/pod/c1", mounts: "") == nil)
  }

  // MARK: mounts that show a part

  /// Docker in Docker before cgroup namespaces: only the outer container's part is mounted.
  private static let partMounts = """
    800 799 0:32 /docker/outer /sys/fs/cgroup/cpu,cpuacct ro master:16 - cgroup x rw,cpu,cpuacct
    801 799 0:35 /docker/outer /sys/fs/cgroup/memory ro master:19 - cgroup cgroup rw,memory
    """

  @Test func `a mount of a part is below its own top`() {
    let membership = "8:memory:/docker/outer/docker/inner\n3:cpu,cpuacct:/docker/outer/docker/inner"
    let found = directories(membership, Self.partMounts)
    #expect(found?["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/docker/inner")
    #expect(found?["cpuRoot"] == "/sys/fs/cgroup/cpu,cpuacct")
    #expect(found?["memory"] == "/sys/fs/cgroup/memory/docker/inner")
  }

  @Test(arguments: ["/docker/outer", "/docker/outerspace/x", "/docker", "/", "/docker/other"])
  func `what is not below the part that is mounted is not found`(group: String) {
    #expect(directories("3:cpu,cpuacct:\(group)\n", Self.partMounts) == nil)
  }

  @Test func `of several mounts the one that shows the group is taken`() {
    let bind = "90 36 0:32 /other /run/other rw shared:16 - cgroup cgroup rw,cpu,cpuacct\n"
    let found = directories(systemdHybrid("/a", unified: "/"), bind + systemdHybridMounts)
    #expect(found?["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/a")
  }

  // Paths are seen from the cgroup namespace (cgroup_namespaces(7)): ".." is outside of it.
  private static func namespaced(_ root: String) -> String {
    "35 24 0:30 \(root) /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
  }

  @Test func `a cgroup namespace that was mounted anew is as the machine`() {
    let found = directories("0::/docker/inner\n", Self.namespaced("/"))
    #expect(found?["cpu"] == "/sys/fs/cgroup/docker/inner")
  }

  @Test func `a mount from above the namespace shows neighbours`() {
    let found = directories("0::/../neighbour\n", Self.namespaced("/.."))
    #expect(found?["cpu"] == "/sys/fs/cgroup/neighbour")
  }

  @Test(arguments: [
    ("/../neighbour", "/"), ("/../../neighbour", "/.."), ("/..", "/"), ("/", "/.."), ("/a", "/.."),
  ])
  func `what no mount shows is not found`(group: String, root: String) {
    #expect(directories("0::\(group)\n", Self.namespaced(root)) == nil)
  }

  // MARK: names

  @Test(arguments: [
    (#"/mnt/my\040cgroups"#, "/mnt/my cgroups"), (#"/mnt/tab\011"#, "/mnt/tab\t"),
    (#"/mnt/back\134slash"#, #"/mnt/back\slash"#), (#"/mnt/\134040"#, #"/mnt/\040"#),
    (#"/mnt/ends\"#, #"/mnt/ends\"#), (#"/mnt/x\04"#, #"/mnt/x\04"#),
    ("/mnt/größe", "/mnt/größe"),
    (#"/mnt/gr\303\266\303\237e"#, "/mnt/größe"),
  ])
  func `a mount point is unescaped, a group is taken as it is`(escaped: String, point: String) {
    let mounts = "35 24 0:30 / \(escaped) rw - cgroup2 cgroup2 rw\n"
    let found = directories("0::/my pod/c:1\\040\n", mounts)
    #expect(found?["cpu"] == point + "/my pod/c:1\\040")
    #expect(found?["cpuRoot"] == point)
  }

  @Test func `a mounted part is unescaped too, and need not be ASCII`() {
    let mounts = #"35 24 0:30 /große\040pods /sys/fs/cgroup rw - cgroup2 cgroup2 rw"#
    #expect(directories("0::/große pods/c1\n", mounts)?["cpu"] == "/sys/fs/cgroup/c1")
  }

  @Test func `a mount whose source is the empty string is one`() {
    let mounts = "35 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup  rw,cpu,cpuacct\n"
    #expect(directories("1:cpu,cpuacct:/a\n", mounts)?["cpu"] == "/sys/fs/cgroup/cpu/a")
  }

  @Test func `a name that ends in a carriage return does not swallow the next line`() {
    let found = directories("1:cpu:/a\r\n2:memory:/b\n", separateMounts)
    #expect(found?["cpu"] == "/sys/fs/cgroup/cpu/a\r")
    #expect(found?["memory"] == "/sys/fs/cgroup/memory/b")
  }

  private static func v2(_ group: String) throws -> CgroupLocation {
    try #require(CgroupLocation(membership: "0::\(group)\n", mounts: unifiedMounts))
  }

  @Test(arguments: [
    ("/system.slice/docker-3f9c.scope", "docker-3f9c.scope", true),
    ("/machine.slice/libpod-3f9c.scope/container", "libpod-3f9c.scope", true),
    ("/docker/3f9c", "3f9c", true), ("/docker/3f9c", nil, true), ("/docker/3f9c", "3f9", false),
    ("/docker/3f9c", "docker/3f9c", false), ("/docker/3f9c", "", false),
    ("/docker/\u{301}x", "\u{301}x", true),
    // The mount point says nothing about the container.
    ("/docker/3f9c", "cgroup", false), ("/docker/3f9c", "sys", false),
    // A scope has its maker's name before its own, where that is not in config.json.
    ("/system.slice/runc-3f9c.scope", "3f9c.scope", true),
    ("/system.slice/3f9c.scope", "3f9c.scope", true),
    ("/system.slice/13f9c.scope", "3f9c.scope", false), ("/docker/x-3f9c", "3f9c", false),
  ])
  func `is named by a part of its group`(group: String, name: String?, isNamed: Bool) throws {
    #expect(try Self.v2(group).isNamed(name) == isNamed)
  }

  @Test(arguments: [
    ("/m.slice/libpod-1.scope/container", "libpod-1.scope", "/m.slice/libpod-1.scope"),
    ("/s.slice/crun-1.scope/container", "1.scope", "/s.slice/crun-1.scope"),
    ("/m.slice/libpod-1.scope", "libpod-1.scope", nil), ("/m.slice/a.scope/b", "c.scope", nil),
    // Not a scope: nobody puts a group into it but the container itself.
    ("/docker/1/container", "1", nil), ("/docker/1/container", nil, nil),
  ])
  func `a scope around the container's group is known by its name`(
    group: String, name: String?, scope: String?
  ) throws {
    let found = CgroupLocation.scope(around: try Self.v2(group).cpu, named: name)
    #expect(found == scope.map { "/sys/fs/cgroup" + $0 })
  }

  @Test func `ancestors are all above it but the root, nearest first`() throws {
    #expect(try Self.v2("/a").ancestors == [])
    #expect(
      try Self.v2("/machine.slice/libpod-3f9c.scope/container").ancestors == [
        "/sys/fs/cgroup/machine.slice/libpod-3f9c.scope", "/sys/fs/cgroup/machine.slice",
      ])
    #expect(try Self.v2("/a/\u{301}b").ancestors == ["/sys/fs/cgroup/a"])
  }

  @Test func `any text is read to the end`() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<2000 {
      let texts = (0..<6).map { _ in random.text() }
      let membership = "0::\(texts[0])\n1:cpu,\(texts[1]):/\(texts[2])\n\(texts[3])"
      let mounts = "1 2 3 /\(texts[4]) /\(texts[5]) rw - cgroup\(texts[3]) x rw,cpu\n" + texts[1]
      guard let location = CgroupLocation(membership: membership, mounts: mounts + unifiedMounts)
      else { continue }
      #expect(location.cpu.utf8.count > location.cpuRoot.utf8.count)
      #expect(location.ancestors.allSatisfy { location.cpu.utf8.starts(with: $0.utf8) })
    }
  }
}
