// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestFiles

@testable import Control
@testable import LiveLimits
@testable import Syscalls

extension MemorySupervisor {
  /// Supervises files in the place of a group's: those of these names in a directory.
  convenience init(
    _ base: MemoryBase, files names: [ReexecState.Place: String], in directory: TemporaryDirectory
  ) throws(SystemError) {
    let path = directory.path
    try self.init(base, isObserver: false) { place in
      names[place].flatMap { try? FileDescriptor.open("\(path)/\($0)", O_RDWR).release() }
        .map { FileDescriptor(owning: $0) } ?? .none
    }
  }
}
