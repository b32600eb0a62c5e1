// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import Control
@testable import LiveLimits
@testable import Quantities
@testable import State
@testable import Syscalls

@Suite struct HandoverTests {
  private func handover(quota: Int64?, explicit: Int64?, above: Int64?) -> ReexecState {
    var base = CPUBase(
      declared: CFSBandwidth(quota: quota, period: 50_000), floor: 50_000_000,
      explicitCeiling: explicit, limit: 2_000_000_000)
    base.above.beyond = above
    base.above.limit = explicit
    base.above.group = above == nil ? 0 : 4711
    base.above.isRaised = quota == 1000
    return ReexecState(
      base: base,
      found: CFSBandwidth(quota: quota == 1000 ? nil : quota, period: 12_500),
      version: .v2, usageFormat: .cpuStat, isObserver: true)
  }

  @Test(
    arguments: [
      (50_000, 1_500_000_000, 700_000_000), (nil, nil, nil), (1000, nil, 1), (nil, 1, nil),
    ] as [(Int64?, Int64?, Int64?)])
  func `what one image says the next one hears`(quota: Int64?, explicit: Int64?, above: Int64?) {
    var said = handover(quota: quota, explicit: explicit, above: above)
    said.base.told = quota.map { CFSBandwidth(quota: $0 == 1000 ? nil : $0, period: 25_000) }
    said.base.inner = quota.map { CFSBandwidth(quota: $0 == 1000 ? nil : $0, period: 20_000) }
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
    said.memory?.told = quota == 1000 ? 512 : nil
    said.memory?.predicted = quota == 1000 ? 48 : nil
    said.memory?.inner = quota == 1000 ? nil : 8192
    said.memory?.above.limit = 96
    said.memory?.above.group = 7
    said.memory?.found = quota == 1000 ? nil : 4096
    said.leaveOut(.burst)
    said.leaveOut(.freezer)
    let heard = try? ReexecState(argument: said.argument)
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
    let first = ReexecState.Place.alarm.rawValue + 1
    #expect(heard?.clockDescriptors == Array(first..<first + 64))
    #expect(heard?.argument == said.argument)
  }

  @Test func `which places hold nothing is told by a bit each`() {
    #expect(ReexecState.Place.allCases.count <= 64)
  }

  @Test func `a place that holds nothing gives no file`() throws {
    var said = handover(quota: nil, explicit: nil, above: nil)
    said.leaveOut(.burst)
    let heard = try ReexecState(argument: said.argument)
    let burst = heard.take(.burst)
    #expect(burst.isOpen == false)
  }

  static let updates: [PendingUpdate?] = [
    nil, PendingUpdate(swap: -1), PendingUpdate(memory: 64, swap: -1),
    PendingUpdate(
      cpu: CFSBandwidth(quota: 1000, period: 50_000), applied: CFSBandwidth(quota: nil)),
  ]

  @Test(arguments: updates) func `an update on its way is passed on`(update: PendingUpdate?) throws
  {
    var said = handover(quota: 1000, explicit: nil, above: 1)
    said.update = update
    #expect(try ReexecState(argument: said.argument).update == update)
  }

  @Test(arguments: ["", "1", "1,", "x,", "-,", "1,,", "--1,", "0,1,"])
  func `what is no state is refused`(text: String) {
    #expect(throws: SystemError.self) { try ReexecState(argument: text) }
  }

  @Test func `a state that is cut or has more than it should is refused`() {
    let words = handover(quota: 1, explicit: 1, above: 1).argument.split(separator: ",")
    for count in 0..<words.count {
      let text = words.prefix(count).map { $0 + "," }.joined()
      #expect(throws: SystemError.self) { try ReexecState(argument: text) }
    }
    let more = words.map { $0 + "," }.joined() + "1,"
    #expect(throws: SystemError.self) { try ReexecState(argument: more) }
  }

  @Test func `the state of another version is refused with a sentence that names both`() {
    let words = handover(quota: 1, explicit: 1, above: 1).argument.split(separator: ",")
    let text = "7," + words.dropFirst().map { $0 + "," }.joined()
    let error = #expect(throws: SystemError.self) { try ReexecState(argument: text) }
    #expect(error?.description.contains("version 7, and this program reads version 2") == true)
  }

  @Test(arguments: [0, 1, -1, 4711, Int64.max, Int64.min])
  func `a number is read back`(number: Int64) throws {
    var (said, heard) = (number, Int64(0))
    var writer = WordCoder()
    writer.code(&said)
    var reader = try #require(WordCoder(writer.text))
    reader.code(&heard)
    #expect(heard == number)
    #expect(reader.isComplete)
  }
}
