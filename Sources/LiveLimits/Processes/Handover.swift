// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Control
internal import Quantities
internal import State
internal import Syscalls

/// What the image of a supervisor that finds a container leaves to the image that supervises it.
///
/// Finding takes texts, tables and a seccomp compiler, and leaves a quarter of a megabyte of used
/// heap behind; supervising takes a few numbers. So the process that has found its container
/// becomes a fresh image of the same program, by execveat(2): same pid, same open files, at fixed
/// places, and a handful of numbers as arguments.
struct Handover {
  /// Where an open file is found.
  enum Place: Int32, CaseIterable {
    case directory = 3
    case initProcess, listener, watch, quota, period, burst, outer, outerBurst
    case members, usage, freezer, pressure
    case events, firstLink, secondLink, thirdLink, promise
    case memoryLimit, memorySwap, memoryUsage, memoryStatistics, memoryKills, memoryCalls
    case outOfMemory, machineMemory, memoryLine, memoryOuter, machinePressure
    case parentQuota, parentPeriod, parentBurst, parentRecord
    case parentMemory, parentMemoryLine, parentMemoryUsage, parentMemoryRecord
    case aboveQuota, abovePeriod, aboveMemory
    case innerQuota, innerBurst, innerMemory, innerSwap
    case cpuWeight, cpuIdle, ioWeight, memoryMin, memoryLow
    case ownCPUWeight, ownCPUIdle, ownIOWeight, ownMemoryMin, ownMemoryLow
    // The first two side by side: the system calls that they are kept from are told by a range.
    case history, historyTrace, historyMemory, historyPeak, historyStatistics, historyKills
    case rules, filter, alarm
  }

  var base: CPUBase
  /// The quota that the kernel had when whoever writes it began to be heard.
  var found: CPUQuota
  var version: CgroupVersion
  var usageFormat: UsageMeter.Format
  var isObserver: Bool
  /// CPUs of the machine.
  var cpus: Int64 = 1
  /// How many perf events follow the last place; none means there is no alarm.
  var clocks = 0
  /// Whether who is heard of in ``Place/watch`` is named.
  var namesWriters = false
  /// The control law.
  var law = ControlLaw.Parameters(named: nil)
  /// What the container may have of memory; nil where that is not moved.
  var memory: MemoryBase?
  /// The container's priority in its application; nil for a container alone.
  var priority: Int32?
  /// What the container declares of memory in bytes, whether or not that moves; 0 for nothing.
  var declaredMemory: Int64 = 0
  /// What its earlier runs needed at first, in nanocores; 0 where that is not known.
  var predicted: Int64 = 0
  /// An update that was on its way when the supervisor before this one died.
  var update: PendingUpdate?
  /// Places that hold nothing, a bit each.
  private var missing: Int64 = 0

  /// Whether memory.high is moved.
  var mindsLine: Bool { memory != nil && version == .v2 && !isObserver }

  /// An open file of the other image, now ours alone.
  func take(_ place: Place) -> FileDescriptor {
    has(place) ? FileDescriptor(owning: place.rawValue) : .none
  }

  /// Whether a place holds a file.
  func has(_ place: Place) -> Bool { missing & bit(place) == 0 }

  /// Takes note that a place holds nothing.
  mutating func leaveOut(_ place: Place) { missing |= bit(place) }

  private func bit(_ place: Place) -> Int64 {
    1 << Int64(place.rawValue - Place.directory.rawValue)
  }

  /// The perf events.
  var clockDescriptors: [Int32] {
    let first = Place.alarm.rawValue + 1
    return (0..<Int32(clocks)).map { first + $0 }
  }

  /// The numbers, as the arguments of the next image.
  var arguments: [String] {
    let above = base.above.words
    let words: [Int64] = [
      base.declared.quota ?? -1, base.declared.period, base.floor, base.explicitCeiling ?? -1,
      base.limit, version == .v1 ? 1 : 2, usageFormat == .nanoseconds ? 1 : 2, isObserver ? 1 : 0,
      above[0], cpus, Int64(clocks), missing,
      base.told?.quota ?? -1, base.told?.period ?? -1,
      namesWriters ? 1 : 0, law == ControlLaw.Parameters(named: "headroom") ? 1 : 0,
      found.quota ?? -1, found.period, above[1], above[2], above[3],
      base.inner?.quota ?? -1, base.inner?.period ?? -1, base.application ?? -1,
      base.countsCPUs ? 1 : 0,
    ]
    return words.map { "\($0)" } + (memory.map { [$0.argument] } ?? [])
      + (update.map { [$0.argument] } ?? [])
      + (priority.map { ["\(Self.priorityMark)\($0)"] } ?? [])
      + (predicted > 0 ? ["\(Self.predictionMark)\(predicted)"] : [])
      + (declaredMemory > 0 ? ["\(Self.memoryMark)\(declaredMemory)"] : [])
  }

  /// Reads ``arguments`` back.
  ///
  /// By plain loops: what generic sequences look up at run time stays in memory.
  ///
  /// - Parameters:
  ///   - arguments: All arguments of this image.
  ///   - first: Where ours begin.
  init?(_ arguments: [String], from first: Int = 0) {
    var words: [Int64] = []
    var memory: MemoryBase?
    var priority: Int32?
    var update: PendingUpdate?
    var declaredMemory: Int64?
    var predicted: Int64?
    var index = first
    while index < arguments.count {
      let argument = arguments[index]
      if let word = Int64(argument) { words.append(word) }
      memory = memory ?? MemoryBase(argument: argument)
      priority = priority ?? Self.priority(argument)
      predicted = predicted ?? Self.number(argument, behind: Self.predictionMark)
      declaredMemory = declaredMemory ?? Self.number(argument, behind: Self.memoryMark)
      update = update ?? PendingUpdate(argument: argument)
      index += 1
    }
    guard words.count == 25 else { return nil }
    func present(_ word: Int64) -> Int64? { word < 0 ? nil : word }
    self.init(
      base: CPUBase(
        declared: CPUQuota(quota: present(words[0]), period: words[1]), floor: words[2],
        explicitCeiling: present(words[3]), limit: words[4]),
      found: CPUQuota(quota: present(words[16]), period: words[17]),
      version: words[5] == 1 ? .v1 : .v2, usageFormat: words[6] == 1 ? .nanoseconds : .cpuStat,
      isObserver: words[7] == 1)
    base.above = LimitsAbove(words[8], words[18], words[19], words[20])
    cpus = words[9]
    clocks = Int(words[10])
    missing = words[11]
    base.inner = present(words[22]).map { CPUQuota(quota: present(words[21]), period: $0) }
    base.told = present(words[13]).map { CPUQuota(quota: present(words[12]), period: $0) }
    base.application = present(words[23])
    base.countsCPUs = words[24] == 1
    namesWriters = words[14] == 1
    law = ControlLaw.Parameters(named: words[15] == 1 ? "headroom" : nil)
    self.memory = memory
    self.priority = priority
    self.update = update
    self.declaredMemory = declaredMemory ?? 0
    self.predicted = predicted ?? 0
  }

  private static let priorityMark = "priority:"

  private static let predictionMark = "predicted:"
  private static let memoryMark = "declared-memory:"

  private static func priority(_ argument: String) -> Int32? {
    number(argument, behind: priorityMark).map { Int32(clamping: $0) }
  }

  private static func number(_ argument: String, behind mark: String) -> Int64? {
    guard argument.utf8.starts(with: mark.utf8) else { return nil }
    return Int64(argument.dropFirst(mark.count))
  }

  init(
    base: CPUBase, found: CPUQuota, version: CgroupVersion,
    usageFormat: UsageMeter.Format, isObserver: Bool
  ) {
    self.base = base
    self.found = found
    self.version = version
    self.usageFormat = usageFormat
    self.isObserver = isObserver
  }
}
