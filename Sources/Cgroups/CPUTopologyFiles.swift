// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
internal import Syscalls

extension CPUTopology {
  /// Reads /sys/devices/system (Documentation/admin-guide/cputopology.rst,
  /// Documentation/ABI/stable/sysfs-devices-node).
  ///
  /// What is missing there is taken for the simplest: a CPU is a core, all are in package 0 and
  /// node 0.
  ///
  /// - Parameter directory: The directory, or one of the same shape.
  package init(reading directory: String) {
    let online = Self.list(directory + "/cpu/online") ?? CPUSet(Machine.onlineCPUs())
    let nodes = (Self.list(directory + "/node/online") ?? CPUSet([0])).cpus.map { number in
      let path = "\(directory)/node/node\(number)"
      return (
        number: number, cpus: Self.list(path + "/cpulist") ?? CPUSet(),
        free: Self.freeMemory(Self.text(path + "/meminfo"))
      )
    }
    var cores: [Core] = []
    var rest = online
    for cpu in online.cpus where rest.contains(cpu) {
      let path = "\(directory)/cpu/cpu\(cpu)/topology"
      // The second is the first one's name before Linux 5.3.
      let siblings =
        Self.list(path + "/core_cpus_list") ?? Self.list(path + "/thread_siblings_list")
      let cpus = (siblings ?? CPUSet()).intersection(rest).union(CPUSet([cpu]))
      cores.append(
        Core(
          cpus: cpus, package: Int32(Self.text(path + "/physical_package_id")) ?? 0,
          node: nodes.first { $0.cpus.contains(cpu) }?.number ?? 0))
      rest = rest.subtracting(cpus)
    }
    self.init(
      cores: cores,
      freeMemory: Dictionary(uniqueKeysWithValues: nodes.map { ($0.number, $0.free) }))
  }

  private static func text(_ path: String) -> String {
    var text = FileDescriptor.textIfReadable(of: path) ?? ""
    if text.utf8.last == UInt8(ascii: "\n") { text.removeLast() }
    return text
  }

  private static func list(_ path: String) -> CPUSet? {
    CPUSet(list: text(path)).flatMap { $0.isEmpty ? nil : $0 }
  }

  /// In bytes, of a text with a line such as "Node 0 MemFree:  3647660 kB".
  private static func freeMemory(_ text: String) -> Int64 {
    for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " "))
      guard words.count > 3, words[2].elementsEqual("MemFree:".utf8) else { continue }
      return (Int64(Substring(words[3])) ?? 0) * 1024
    }
    return 0
  }
}
