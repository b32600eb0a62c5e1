// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Syscalls

/// The online CPUs of a machine, and how they lie together.
public struct CPUTopology: Equatable, Sendable {
  /// The hardware threads of one core: SMT siblings, which share all of its units.
  public struct Core: Equatable, Sendable {
    /// The siblings that are online; at least one.
    public let cpus: CPUSet
    /// The package (socket) it is in: physical_package_id.
    public let package: Int32
    /// The NUMA node it is in.
    public let node: Int32

    /// Makes a core.
    public init(cpus: CPUSet, package: Int32 = 0, node: Int32 = 0) {
      self.cpus = cpus
      self.package = package
      self.node = node
    }
  }

  /// All cores with a CPU that is online, by their lowest CPU; each CPU is in one.
  public let cores: [Core]
  /// The CPUs that are online.
  public let online: CPUSet
  /// MemFree of each NUMA node in bytes, those without memory and those without CPUs included.
  public let freeMemory: [Int32: Int64]

  /// Makes a topology; a machine without NUMA has node 0.
  public init(cores: [Core], freeMemory: [Int32: Int64] = [0: 0]) {
    self.cores = cores
    online = cores.reduce(CPUSet()) { $0.union($1.cpus) }
    self.freeMemory = freeMemory
  }

  /// Reads /sys/devices/system (Documentation/admin-guide/cputopology.rst,
  /// Documentation/ABI/stable/sysfs-devices-node).
  ///
  /// What is missing there is taken for the simplest: a CPU is a core, all are in package 0 and
  /// node 0.
  ///
  /// - Parameter directory: The directory, or one of the same shape.
  public init(reading directory: String) {
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
    self.cores = cores
    self.online = online
    freeMemory = Dictionary(uniqueKeysWithValues: nodes.map { ($0.number, $0.free) })
  }

  /// The NUMA nodes that CPUs are in.
  public func nodes(of cpus: CPUSet) -> CPUSet {
    CPUSet(cores.filter { !$0.cpus.isDisjoint(with: cpus) }.map(\.node))
  }

  /// The NUMA nodes whose memory goes with CPUs, when it is enough.
  ///
  /// - Parameters:
  ///   - cpus: The CPUs.
  ///   - declaredMemory: What their container declares, in bytes; nil for nothing.
  /// - Returns: Those of the CPUs' nodes that have memory; nil where cpuset.mems is better left
  ///   alone, because there is one node only, nothing is declared, or it might not fit.
  public func memoryNodes(for cpus: CPUSet, declaredMemory: Int64?) -> CPUSet? {
    guard freeMemory.count > 1, let declaredMemory else { return nil }
    // The kernel takes no node without memory into cpuset.mems.
    let nodes = nodes(of: cpus).cpus.filter { freeMemory[$0] ?? 0 > 0 }
    let free = nodes.reduce(0) { $0 + (freeMemory[$1] ?? 0) }
    return nodes.isEmpty || declaredMemory > free ? nil : CPUSet(nodes)
  }

  private static func text(_ path: String) -> String {
    var text = (try? FileDescriptor.text(of: path)) ?? ""
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
