// SPDX-License-Identifier: Apache-2.0

/// What `update --resources` is given: the shape of `linux.resources`, at the top level.
///
/// runc takes 0 and the empty string for "not set" here (update.go), and so does this.
package struct ResourcesUpdate: Sendable {
  /// The request, as it came.
  package let bytes: [UInt8]
  /// `cpu.quota` in µs, -1 for no limit; nil where the request does not set it.
  package let cpuQuota: Int64?
  /// `cpu.period` in µs; nil where the request does not set it.
  package let cpuPeriod: Int64?
  /// `cpu.cpus`; nil where the request does not set it.
  package let cpus: String?
  /// `cpu.mems`; nil where the request does not set it.
  package let mems: String?
  /// `memory.limit` in bytes, -1 for no limit; nil where the request does not set it.
  package let memoryLimit: Int64?
  /// `memory.swap` in bytes, memory included, -1 for no limit; nil where the request does not set
  /// it.
  package let memorySwap: Int64?

  private let spans: JSONSpans

  /// Reads a request.
  ///
  /// - Parameters:
  ///   - bytes: The request.
  ///   - name: What to call it in errors.
  /// - Throws: ``ConfigError`` where runc would refuse it too.
  package init(_ bytes: [UInt8], name: String = "the resources to update") throws(ConfigError) {
    self.bytes = bytes
    let reading = try bytes.withUnsafeBufferPointer { buffer throws(ConfigError) in
      let reader = try SpanReader(
        UnsafeRawBufferPointer(buffer), as: .resources, document: name)
      func set(_ place: JSONPlace) throws(ConfigError) -> Int64? {
        try reader.integer(place).flatMap { $0 == 0 ? nil : $0 }
      }
      return (
        spans: reader.spans, quota: try set(.quota), period: try set(.period),
        cpus: try reader.string(.cpus), mems: try reader.string(.mems), limit: try set(.limit),
        swap: try set(.swap)
      )
    }
    spans = reading.spans
    cpuQuota = reading.quota
    cpuPeriod = reading.period
    cpus = reading.cpus
    mems = reading.mems
    memoryLimit = reading.limit
    memorySwap = reading.swap
  }

  /// The request with other CPU values; nil leaves what is there.
  package func rewriting(cpuQuota: Int64? = nil, period: Int64? = nil) -> [UInt8] {
    applying(ConfigEdit(cpuQuota: cpuQuota, cpuPeriod: period))
  }

  /// The request with an edit applied.
  package func applying(_ edit: ConfigEdit) -> [UInt8] {
    edit.applied(to: bytes, spans, root: .resources)
  }
}
