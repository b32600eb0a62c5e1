// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Quantities
internal import Syscalls

/// What the machine has.
package enum Machine {
  /// The CPUs that are online, by number: /sys/devices/system/cpu/online.
  package static func onlineCPUs() -> [Int32] {
    let text = FileDescriptor.textIfReadable(of: "/sys/devices/system/cpu/online") ?? ""
    if let online = CPUSet(list: text), !online.isEmpty { return online.cpus }
    return Array(0..<Int32(max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))))
  }

  /// Memory of the machine in bytes: MemTotal of /proc/meminfo.
  package static func memory() -> Int64 {
    let text = FileDescriptor.textIfReadable(of: "/proc/meminfo") ?? ""
    for line in text.split(separator: "\n") where line.utf8.starts(with: "MemTotal:".utf8) {
      let kibibytes = line.split(separator: " ").dropFirst().first.flatMap { Int64($0) }
      return (kibibytes ?? 0) * 1024
    }
    return 0
  }
}
