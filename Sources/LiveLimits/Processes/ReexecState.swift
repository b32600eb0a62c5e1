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
/// places, and this value as its last argument.
struct ReexecState {
  /// Where an open file is found.
  enum Place: Int32, CaseIterable {
    case directory = 3
    case initProcess, listener, watch, quota, period, burst, other
    case members, usage, freezer, pressure
    case events, firstLink, secondLink, thirdLink, promise
    case memoryLimit, memorySwap, memoryUsage, memoryStatistics, memoryKills, memoryCalls
    case outOfMemory, machineMemory, memoryLine, memoryOther, machinePressure
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
  /// The quota that the kernel had when its writers began to be noticed.
  var found: CFSBandwidth
  var version: CgroupVersion
  var usageFormat: UsageMeter.Format
  var isObserver: Bool
  /// CPUs of the machine.
  var cpus: Int64 = 1
  /// How many perf events follow the last place; none means there is no alarm.
  var clocks = 0
  /// Whether ``Place/watch`` names the processes that write.
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
  var mindsLine: Bool { memory != nil && version.hasMemoryHigh && !isObserver }

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

  /// The version of ``code(_:)``: another one for each change of the fields or of ``Place``.
  ///
  /// Both images are of one program, which ``Launcher/executable()`` has open; an upgrade replaces its
  /// file and not the program that runs.
  private static let layout: Int64 = 2

  /// The state, as the one argument of the next image.
  var argument: String {
    var state = self
    var coder = WordCoder()
    state.code(&coder)
    return coder.text
  }

  /// Reads ``argument`` back.
  ///
  /// - Throws: ``SystemError`` for what another version has written, or no version.
  init(argument: String) throws(SystemError) {
    guard var coder = WordCoder(argument) else {
      throw SystemError("understand", "the state that the finding image left", errno: 22)
    }
    self.init(
      base: CPUBase(declared: CFSBandwidth(quota: nil), floor: 0, explicitCeiling: nil, limit: 0),
      found: CFSBandwidth(quota: nil), version: .v1, usageFormat: .cpuStat, isObserver: false)
    let found = code(&coder)
    guard found == Self.layout, coder.isComplete, base.period > 0 else {
      throw SystemError(
        "understand",
        "the state that the finding image left: it has version \(found), and this program reads "
          + "version \(Self.layout)", errno: 22)
    }
  }

  /// Each field once: this writes them and reads them.
  ///
  /// - Returns: The version that was written or read; of another one nothing else is read.
  @discardableResult
  private mutating func code(_ coder: inout WordCoder) -> Int64 {
    var layout = Self.layout
    coder.code(&layout)
    guard layout == Self.layout else { return layout }
    coder.code(&base)
    coder.code(&found)
    var interface = version.number
    coder.code(&interface)
    version = CgroupVersion(number: interface)
    var isAlone = usageFormat == .nanoseconds
    coder.code(&isAlone)
    usageFormat = isAlone ? .nanoseconds : .cpuStat
    coder.code(&isObserver)
    coder.code(&cpus)
    coder.code(&clocks)
    coder.code(&namesWriters)
    var lawNumber = law.number
    coder.code(&lawNumber)
    law = ControlLaw.Parameters(number: lawNumber)
    coder.code(&memory)
    coder.code(&priority)
    coder.code(&declaredMemory)
    coder.code(&predicted)
    coder.code(&update)
    coder.code(&missing)
    return layout
  }

  init(
    base: CPUBase, found: CFSBandwidth, version: CgroupVersion,
    usageFormat: UsageMeter.Format, isObserver: Bool
  ) {
    self.base = base
    self.found = found
    self.version = version
    self.usageFormat = usageFormat
    self.isObserver = isObserver
  }
}
