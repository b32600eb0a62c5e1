// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import Quantities
@testable import Syscalls

@Suite struct HandoverTests {
  private func handover(quota: Int64?, explicit: Int64?, above: Int64?) -> Handover {
    var base = CPUBase(
      declared: CPUQuota(quota: quota, period: 50_000), floor: 50_000_000,
      explicitCeiling: explicit, limit: 2_000_000_000)
    base.above.beyond = above
    base.above.limit = explicit
    base.above.group = above == nil ? 0 : 4711
    base.above.isRaised = quota == 1000
    return Handover(
      base: base,
      found: CPUQuota(quota: quota == 1000 ? nil : quota, period: 12_500),
      version: .v2, usageFormat: .cpuStat, isObserver: true)
  }

  @Test(
    arguments: [
      (50_000, 1_500_000_000, 700_000_000), (nil, nil, nil), (1000, nil, 1), (nil, 1, nil),
    ] as [(Int64?, Int64?, Int64?)])
  func `what one image says the next one hears`(quota: Int64?, explicit: Int64?, above: Int64?) {
    var said = handover(quota: quota, explicit: explicit, above: above)
    said.base.told = quota.map { CPUQuota(quota: $0 == 1000 ? nil : $0, period: 25_000) }
    said.base.inner = quota.map { CPUQuota(quota: $0 == 1000 ? nil : $0, period: 20_000) }
    said.cpus = 64
    said.clocks = 64
    said.namesWriters = quota == nil
    said.law = .headroom(.standard)
    said.priority = quota.map { $0 == 1000 ? -1000 : 7 }
    said.predicted = explicit ?? 0
    said.declaredMemory = above ?? 0
    said.memory = quota.map {
      MemoryBase(
        declared: $0 == 1000 ? nil : 64, swapAllowance: nil, floor: 16, explicitCeiling: 512,
        limit: 4096, hostReserve: 7)
    }
    said.memory?.isManaged = quota == 1000
    said.memory?.predicted = quota == 1000 ? 48 : nil
    said.memory?.inner = quota == 1000 ? nil : 8192
    said.memory?.above.limit = 96
    said.memory?.above.group = 7
    said.memory?.found = quota == 1000 ? nil : 4096
    said.leaveOut(.burst)
    said.leaveOut(.freezer)
    let heard = Handover(said.arguments)
    #expect(heard?.base == said.base)
    #expect(heard?.found == said.found)
    #expect(heard?.memory == said.memory)
    #expect(heard?.priority == said.priority)
    #expect(heard?.predicted == said.predicted)
    #expect(heard?.declaredMemory == said.declaredMemory)
    #expect(heard?.version == .v2)
    #expect(heard?.usageFormat == .cpuStat)
    #expect(heard?.isObserver == true)
    #expect(heard?.cpus == 64)
    #expect(heard?.law == .headroom(.standard))
    #expect(heard?.namesWriters == said.namesWriters)
    let first = Handover.Place.alarm.rawValue + 1
    #expect(heard?.clockDescriptors == Array(first..<first + 64))
    #expect(heard?.arguments == said.arguments)
  }

  @Test func `which places hold nothing is told by a bit each`() {
    #expect(Handover.Place.allCases.count <= 64)
  }

  @Test func `a place that holds nothing gives no file`() throws {
    var said = handover(quota: nil, explicit: nil, above: nil)
    said.leaveOut(.burst)
    let heard = try #require(Handover(said.arguments))
    let burst = heard.take(.burst)
    #expect(burst.isOpen == false)
  }

  @Test(arguments: [0, 1, 17, 19])
  func `another number of words is not understood`(count: Int) {
    #expect(Handover(Array(repeating: "1", count: count)) == nil)
  }

  @Test func `a word that is no number is not understood`() {
    var words = handover(quota: 1, explicit: 1, above: 1).arguments
    words[3] = "x"
    #expect(Handover(words) == nil)
  }
}
