// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// What the machine has.
public enum Machine {
  /// The CPUs that are online, by number: /sys/devices/system/cpu/online.
  public static func onlineCPUs() -> [Int32] {
    let text = (try? FileDescriptor.text(of: "/sys/devices/system/cpu/online")) ?? ""
    let listed = cpus(inList: text)
    if !listed.isEmpty { return listed }
    return Array(0..<Int32(max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))))
  }

  /// A list as the kernel writes it: "0-2,5" (Documentation/admin-guide/cputopology.rst).
  static func cpus(inList text: String) -> [Int32] {
    text.split(whereSeparator: { $0 == "," || $0 == "\n" }).flatMap { range -> [Int32] in
      let ends = range.split(separator: "-").compactMap { Int32($0) }
      guard let first = ends.first, let last = ends.last, first <= last else { return [] }
      return Array(first...last)
    }
  }

  /// Memory of the machine in bytes: MemTotal of /proc/meminfo.
  public static func memory() -> Int64 {
    let text = (try? FileDescriptor.text(of: "/proc/meminfo")) ?? ""
    for line in text.split(separator: "\n") where line.utf8.starts(with: "MemTotal:".utf8) {
      let kibibytes = line.split(separator: " ").dropFirst().first.flatMap { Int64($0) }
      return (kibibytes ?? 0) * 1024
    }
    return 0
  }
}
