// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// The group that a container is in with others, found and open, where its limit may be changed.
struct FoundParent {
  /// Its directory.
  var path: String
  /// The files, at the places that they have in the image that supervises.
  var files: [ReexecState.Place: Int32] = [:]

  /// Opens it, and registers the container with it; nil where no supervisor may change the limit
  /// of that group, or there is none.
  ///
  /// - Parameters:
  ///   - resource: Which limit.
  ///   - directory: The group that the container's processes are in, in that one's hierarchy.
  ///   - state: The container, which may have more than it declares.
  ///   - version: Which interface.
  ///   - nonce: Of its instance.
  ///   - root: Where it is written down.
  init?(
    _ resource: SharedResource, of directory: String, _ state: ContainerState,
    _ version: CgroupVersion, nonce: UInt64, _ root: StateRoot
  ) {
    let raises = resource == .cpu ? state.raisesPodCPU : state.raisesPodMemory
    // A pod without a limit of its own is in no container's way.
    guard raises,
      let path = CgroupLocation.parent(of: directory, named: state.cgroupName),
      CgroupLocation.isPod(path),
      let parent = FileDescriptor.openIfPossible(path, O_RDONLY | O_DIRECTORY),
      // A limit that cannot be read is not raised either.
      let kernel = ParentRegistry.file(of: path, parent, isMemory: resource == .memory),
      (try? kernel.read())?.value != nil
    else { return nil }
    self.path = path
    do throws(SystemError) {
      let record = try ParentRegistry.register(
        ParentAccount.Hold(nonce: nonce), resource, path: path, kernel, root)
      try open(resource, parent, version)
      files[resource == .cpu ? .parentRecord : .parentMemoryRecord] = record.release()
    } catch {
      for number in files.values { close(number) }
      return nil
    }
  }

  private mutating func open(
    _ resource: SharedResource, _ parent: borrowing FileDescriptor,
    _ version: CgroupVersion
  ) throws(SystemError) {
    if resource == .cpu {
      let limit = try CgroupWriter(directory: parent, version: version, readOnly: false).release()
      files[.parentQuota] = limit.quota
      files[.parentPeriod] = limit.period
      files[.parentBurst] = limit.burst
    } else {
      files[.parentMemory] = try parent.open(.memoryLimit, version, O_RDWR).release()
      if version.hasMemoryHigh {
        files[.parentMemoryLine] = try parent.open(.memoryHigh, version, O_RDONLY).release()
      }
      files[.parentMemoryUsage] = try parent.open(.memoryUsage, version, O_RDONLY).release()
    }
  }
}
