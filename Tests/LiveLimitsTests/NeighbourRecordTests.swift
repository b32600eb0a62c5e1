// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import LiveLimits
@testable import Quantities

@Suite struct NeighbourRecordTests {
  private static func set(_ list: String) -> CPUSet { CPUSet(list: list) ?? CPUSet() }

  private static func group(
    _ path: String, _ inode: UInt64, _ cpus: String, hasProcesses: Bool = true
  ) -> CpusetGroup {
    CpusetGroup(path: path, inode: inode, cpus: set(cpus), hasProcesses: hasProcesses)
  }

  private static var record: NeighbourRecord {
    var record = NeighbourRecord()
    record.neighbours = [
      Neighbour(inode: 7, declared: set("0-3"), applied: set("0-1")),
      Neighbour(inode: 9, declared: set("2"), applied: set("0,1")),
    ]
    record.pending = [7: [set("0-1"), set("0")]]
    return record
  }

  @Test func `what is written down reads back`() {
    #expect(NeighbourRecord(text: Self.record.text) == Self.record)
    #expect(NeighbourRecord(text: NeighbourRecord().text) == NeighbourRecord())
  }

  @Test func `exclusive CPUs and empty sets read back`() {
    var record = Self.record
    record.lent = [3: Self.set("3"), 12: Self.set("2-3")]
    record.neighbours.append(
      Neighbour(inode: 11, declared: CPUSet(), applied: Self.set("0")))
    record.pending[11] = [CPUSet(), Self.set("0")]
    #expect(NeighbourRecord(text: record.text) == record)
  }

  @Test func `on cgroup v2 a lost record comes back from what the runtimes know and what is there`()
  {
    func group(
      _ path: String, _ inode: UInt64, _ cpus: String, _ exclusive: String = ""
    ) -> UnifiedGroup {
      UnifiedGroup(
        path: path, inode: inode, cpus: Self.set(cpus), exclusive: Self.set(exclusive))
    }
    let rebuilt = NeighbourRecord(
      rebuiltFrom: [
        group("/", 1, "0-3"), group("/p", 2, "", "1,3"), group("/p/strict", 5, "3", "3"),
        group("/p/known", 6, "0"), group("/p/none", 7, "0-2"), group("/p/own", 8, "1"),
        group("/p/follows", 9, ""),
      ], holders: [StrictOwner(cpus: Self.set("3"), path: "/p/strict", inode: 5)],
      declared: { $0 == "/p/known" ? Self.set("0,3") : nil })
    #expect(
      rebuilt.neighbours == [
        Neighbour(inode: 6, declared: Self.set("0,3"), applied: Self.set("0")),
        Neighbour(inode: 7, declared: CPUSet(), applied: Self.set("0-2")),
      ])
    #expect(rebuilt.lent == [2: Self.set("3"), 5: Self.set("3")])
  }

  @Test func `a file that was cut or changed anywhere is torn`() {
    let text = Array(Self.record.text.utf8)
    for length in 0..<text.count - 1 {
      #expect(NeighbourRecord(text: String(decoding: text[..<length], as: UTF8.self)) == nil)
    }
    for index in text.indices {
      var changed = text
      changed[index] = changed[index] == 48 ? 49 : 48
      let read = NeighbourRecord(text: String(decoding: changed, as: UTF8.self))
      #expect(read == nil || read == Self.record)
    }
  }

  @Test func `a set that was about to be written when its writer died is not news`() {
    for found in ["0-1", "0"] {
      let seen = Self.record.reconciled(with: [Self.group("/a", 7, found)])
      #expect(seen[0] == Neighbour(inode: 7, declared: Self.set("0-3"), applied: Self.set(found)))
    }
    let news = Self.record.reconciled(with: [Self.group("/a", 7, "1")])
    #expect(news[0].applied == Self.set("0-1"))
  }

  @Test func `a lost record comes back from what the runtimes know, else from the group above`() {
    let holder = StrictOwner(cpus: Self.set("3"), path: "/p/strict", inode: 5)
    let rebuilt = NeighbourRecord(
      rebuiltFrom: [
        Self.group("/", 1, "0-3", hasProcesses: false),
        Self.group("/p", 2, "0-3", hasProcesses: false),
        Self.group("/p/strict", 5, "3"), Self.group("/p/known", 6, "0"),
        Self.group("/p/known/inner", 7, "0"), Self.group("/p/unknown", 8, "0-2"),
        Self.group("/p/wide", 9, "0-3"),
      ], holders: [holder], declared: { $0 == "/p/known" ? Self.set("0,3") : nil })
    #expect(
      rebuilt.neighbours == [
        Neighbour(inode: 6, declared: Self.set("0,3"), applied: Self.set("0")),
        Neighbour(inode: 7, declared: Self.set("0,3"), applied: Self.set("0")),
        Neighbour(inode: 8, declared: Self.set("0-3"), applied: Self.set("0-2")),
      ])
  }
}
