// SPDX-License-Identifier: Apache-2.0
import Application
import Cgroups
import Control
import Quantities
import State
import TestValues
import Testing

@testable import LiveLimits

/// A container in two groups that systemd has made, and what each process believes of them.
///
/// systemd writes what it knows of either unit at any moment, in any order. The low-level runtime tells
/// systemd of an update, and then writes the scope itself. The supervisor looks when it gets to it.
private struct ScopeModel {
  /// A limit of either resource, as the kernel has it.
  struct Limits: Equatable {
    var cpu: CFSBandwidth
    var memory: Int64
  }

  var base: CPUBase
  var memory: MemoryBase
  /// The kernel's files.
  var (scope, slice): (Limits, Limits)
  /// What systemd knows of each unit.
  var (knownScope, knownSlice): (Limits, Limits)
  /// What the last update, or config.json, says.
  var declared: Limits
  /// What the supervisor wants to hold, and its application has granted.
  var grant: CFSBandwidth

  static let none = CFSBandwidth(quota: nil)

  init(_ base: CPUBase, _ memory: MemoryBase) {
    (self.base, self.memory) = (base, memory)
    let isMember = base.application != nil
    let first = isMember ? FirstLimits(ofMember: base) : FirstLimits(base, memory)
    declared = Limits(cpu: base.declared, memory: memory.declared ?? MemoryLimit.unlimited)
    let most = Limits(cpu: base.firstInner, memory: memory.firstInner)
    (self.base.inner, self.base.told) = (most.cpu, most.cpu)
    (self.memory.inner, self.memory.told) = (most.memory, most.memory)
    knownScope = most
    scope = Limits(cpu: most.cpu.asUnitProperty, memory: most.memory)
    slice = Limits(
      cpu: first.cpu ?? Self.none, memory: first.memory ?? first.mostMemory ?? MemoryLimit.unlimited
    )
    knownSlice = Limits(
      cpu: first.cpu ?? Self.none, memory: first.mostMemory ?? MemoryLimit.unlimited)
    grant = first.cpu ?? base.limit(of: base.initial())
  }

  /// What the kernel holds the container to.
  var effective: (cpu: Int64, memory: Int64) {
    (
      min(scope.cpu.nanocores ?? .max, slice.cpu.nanocores ?? .max),
      min(scope.memory, slice.memory)
    )
  }

  /// systemd writes one of the files that it knows.
  mutating func writeUnit(_ file: Int) {
    switch file {
    case 0: scope.cpu = knownScope.cpu.asUnitProperty
    case 1: scope.memory = knownScope.memory
    case 2: slice.cpu = knownSlice.cpu.asUnitProperty
    default: slice.memory = knownSlice.memory
    }
  }

  /// The steps of an update, between which others write.
  func update(to limits: Limits) -> [(inout ScopeModel) -> Void] {
    // The shim tells the supervisor of what it cannot see.
    let isUnseen = (limits.cpu == base.inner, limits.memory == memory.inner)
    return [
      { model in
        model.knownScope = limits
        model.declared = limits
        model.writeUnit(0)
      },
      { model in model.writeUnit(1) },
      { model in model.scope = limits },
      { model in
        if isUnseen.0 { (model.base.declared, model.base.told) = (limits.cpu, limits.cpu) }
        if isUnseen.1 {
          (model.memory.declared, model.memory.told) = (limits.memory, limits.memory)
        }
      },
    ]
  }

  /// The supervisor looks at both groups, as a supervisor does.
  mutating func look() {
    var (scope, slice) = (scope, slice)
    _ = base.takeInner(scope.cpu) { limit in
      if slice.cpu.quota == nil { slice.cpu = scope.cpu }
      scope.cpu = limit
    }
    _ = memory.takeInner(scope.memory) { limit in
      if slice.memory >= MemoryLimit.unlimited { slice.memory = scope.memory }
      scope.memory = limit
    }
    (self.scope, self.slice) = (scope, slice)
    write()
  }

  /// It writes the outer group: no limit around a group that has the same, or less, for good.
  mutating func write() {
    let most = max(scope.cpu.nanocores ?? .max, base.application ?? 0)
    slice.cpu = grant.nanocores ?? .max < most ? grant : Self.none
  }
}

@Suite struct SystemdModelTests {
  private func limits(_ random: inout SeededGenerator) -> ScopeModel.Limits {
    ScopeModel.Limits(
      cpu: CFSBandwidth(quota: Int64.random(in: 1...60, using: &random) * 2_500),
      memory: Int64.random(in: 16...512, using: &random) << 20)
  }

  private func model(
    application: Int64? = nil, hasMost: Bool = false, _ random: inout SeededGenerator
  ) -> ScopeModel {
    let declared = limits(&random)
    var base = CPUBase(
      declared: declared.cpu, floor: 50_000_000,
      explicitCeiling: application != nil ? 8_000_000_000 : hasMost ? 1_500_000_000 : nil,
      limit: 8_000_000_000)
    base.application = application
    var memory = MemoryBase(
      declared: declared.memory, floor: 8 << 20,
      explicitCeiling: application != nil || hasMost ? 1 << 30 : nil, limit: 1 << 33)
    memory.application = application.map { _ in 1 << 30 }
    return ScopeModel(base, memory)
  }

  @Test(arguments: [false, true])
  func `what systemd writes declares nothing, and an update declares itself`(hasMost: Bool) {
    for seed in 0..<2000 {
      var random = SeededGenerator(seed: UInt64(seed))
      var model = model(hasMost: hasMost, &random)
      var update: [(inout ScopeModel) -> Void] = []
      for _ in 0..<60 {
        switch Int.random(in: 0..<8, using: &random) {
        case 0 where update.isEmpty: update = model.update(to: limits(&random))
        case 0...2 where !update.isEmpty: update.removeFirst()(&model)
        case 3...5: model.writeUnit(Int.random(in: 0..<4, using: &random))
        default: model.look()
        }
      }
      for step in update { step(&model) }
      model.look()
      // systemd rounds: who looks behind it sees whole percents.
      #expect(model.base.declared.asUnitProperty == model.declared.cpu.asUnitProperty, "\(seed)")
      #expect(model.memory.declared == model.declared.memory, "\(seed)")
      let most = max(model.base.firstInner.nanocores ?? .max, model.declared.cpu.nanocores ?? .max)
      #expect(model.scope.cpu.nanocores ?? .max >= most, "\(seed)")
      #expect(model.effective.cpu == min(model.grant.nanocores ?? .max, model.effective.cpu))
      for file in (0..<4).shuffled(using: &random) { model.writeUnit(file) }
      let (declared, memory) = (model.base.declared, model.memory.declared)
      model.look()
      #expect(model.base.declared == declared && model.memory.declared == memory, "\(seed)")
    }
  }

  /// The slice is started with the least that a member may have, and the scope only bounds it.
  @Test func `nothing that systemd or an update writes takes CPU from the application`() {
    let application: Int64 = 1_500_000_000
    for seed in 0..<2000 {
      var random = SeededGenerator(seed: UInt64(seed))
      var members = (0..<3).map { _ in model(application: application, &random) }
      var updates = members.map { _ in [(inout ScopeModel) -> Void]() }
      for step in 0..<80 {
        let index = Int.random(in: 0..<members.count, using: &random)
        switch Int.random(in: 0..<10, using: &random) {
        case 0 where updates[index].isEmpty:
          updates[index] = members[index].update(to: limits(&random))
        case 0...2 where !updates[index].isEmpty: updates[index].removeFirst()(&members[index])
        case 3...5: members[index].writeUnit(Int.random(in: 0..<4, using: &random))
        case 6, 7: members[index].look()
        default: move(index, in: &members, of: application, &random)
        }
        let sum = members.reduce(0) { $0 + min($1.effective.cpu, application) }
        guard sum <= application else {
          Issue.record("\(seed), step \(step): \(sum)")
          return
        }
      }
    }
  }

  /// The broker grants a member what the others leave; the giver lowers first.
  private func move(
    _ index: Int, in members: inout [ScopeModel], of application: Int64,
    _ random: inout SeededGenerator
  ) {
    let base = members[index].base
    let others = members.indices.filter { $0 != index }
      .reduce(0) { $0 + (members[$1].grant.nanocores ?? 0) }
    let floor = base.share.floor
    guard application - others > floor else { return }
    let cores = Int64.random(in: floor...application - others, using: &random)
    members[index].grant = base.limit(of: base.quota(ofCores: cores))
    members[index].write()
  }
}
