// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

extension OuterGroupDirectory {
  /// Makes it in the unified hierarchy.
  func makeUnified(below top: String) throws(SystemError) {
    Self.delegate(CgroupLocation.parent(path), from: top)
    if mkdir(path, 0o755) != 0 {
      // A group left by a container of this id is empty. Any other group is not ours.
      guard errno == EEXIST, rmdir(path) == 0, mkdir(path, 0o755) == 0 else {
        throw SystemError.last(Self.makeStep, path)
      }
    }
    // A container that shares the host's cgroup namespace looks through it.
    chmod(path, 0o755)
  }

  /// Makes sure that a group in it can have CPU and memory limits.
  func check() throws(SystemError) {
    let type = FileDescriptor.textIfReadable(of: path + "/cgroup.type") ?? ""
    guard type == "domain\n", access(path + "/cpu.max", F_OK) == 0,
      access(path + "/memory.max", F_OK) == 0
    else {
      throw SystemError("use the CPU and memory controllers in", path, errno: EOPNOTSUPP)
    }
  }

  /// Writes the first limits.
  func write(_ limits: FirstLimits) throws(SystemError) {
    if let cpu = limits.cpu {
      let group = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
      var writer = try CgroupWriter(directory: group, version: .v2, readOnly: false)
      try writer.set(cpu, from: try writer.current())
    }
    if let memory = limits.memory {
      let writer = try MemoryWriter(directory: path, version: .v2, readOnly: false)
      try writer.set(memory, swap: nil) { 0 }
    }
  }

  /// Enables the controllers in all groups down to the outer group's parent, as runc does
  /// (fs2.CreateCgroupPath).
  private static func delegate(_ parent: String, from top: String) {
    if let has = FileDescriptor.textIfReadable(of: parent + "/cgroup.subtree_control"),
      Set(has.split(whereSeparator: { $0 == " " || $0 == "\n" })).isSuperset(of: ["cpu", "memory"])
    {
      return
    }
    let controllers = (FileDescriptor.textIfReadable(of: top + "/cgroup.controllers") ?? "")
      .split(whereSeparator: { $0 == " " || $0 == "\n" })
    var path = top
    func handDown() {
      // A threaded group, whose processes cannot be read, and one with processes have no memory
      // controller to hand down. With others handed down they would be of another type: leave them.
      let processes = FileDescriptor.textIfReadable(of: path + "/cgroup.procs")
      guard path == top || processes?.isEmpty == true,
        let file = FileDescriptor.openIfPossible(path + "/cgroup.subtree_control", O_WRONLY)
      else { return }
      for name in controllers { file.writeIfPossible("+" + name) }
    }
    handDown()
    for part in Substring(parent.utf8.dropFirst(top.utf8.count)).split(at: "/") {
      path += "/" + part
      if mkdir(path, 0o755) == 0 { chmod(path, 0o755) }
      handDown()
    }
  }
}
