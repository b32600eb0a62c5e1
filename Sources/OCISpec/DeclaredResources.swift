// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// What a container declares in `linux.resources` of its config.json.
package struct DeclaredResources: Equatable, Sendable {
  /// `cpu.quota` over `cpu.period`; nil where there is no quota or it is not above 0.
  package var cpu: CFSBandwidth?
  /// Whether the kernel refuses `cpu.quota` or `cpu.period`: less than 1 ms, or a period above 1 s
  /// (kernel/sched/core.c, tg_set_cfs_bandwidth).
  package var cpuIsRefused = false
  /// `cpu.cpus`, as written.
  package var cpuset: String?
  /// `cpu.mems`, as written.
  package var mems: String?
  /// `memory.limit` in bytes; nil where there is none or it is not above 0.
  package var memory: Int64?
  /// `memory.swap` in bytes, memory included; -1 is no limit, and 0 counts as absent.
  package var memorySwap: Int64?

  /// Makes a declaration from its parts; none is no limit.
  package init(
    cpu: CFSBandwidth? = nil, cpuset: String? = nil, mems: String? = nil, memory: Int64? = nil,
    memorySwap: Int64? = nil
  ) {
    self.cpu = cpu
    self.cpuset = cpuset
    self.mems = mems
    self.memory = memory
    self.memorySwap = memorySwap
  }

  init(_ reader: SpanReader) throws(ConfigError) {
    func positive(_ place: JSONPlace) throws(ConfigError) -> Int64? {
      guard let value = try reader.integer(place), value > 0 else { return nil }
      return value
    }
    let period = try positive(.period) ?? CFSBandwidth.defaultPeriod
    let quota = try positive(.quota)
    cpuIsRefused = !(1_000...1_000_000).contains(period) || (1..<1_000).contains(quota ?? 0)
    cpu = quota.map { CFSBandwidth(quota: $0, period: period) }
    cpuset = try reader.string(.cpus)
    mems = try reader.string(.mems)
    memory = try positive(.limit)
    memorySwap = try reader.integer(.swap).flatMap { $0 == 0 ? nil : $0 }
  }
}
