// SPDX-License-Identifier: Apache-2.0
package import CPUSets
package import Cgroups
package import Control
internal import Glibc
package import OCISpec
package import Quantities
package import Syscalls

/// Everything a supervisor needs to take a container over from nothing but this.
///
/// The shim writes it before a supervisor exists, the supervisor when it has found the container
/// and when the declared limit changes, the next supervisor reads it after a crash. It is
/// replaced as a whole, by rename.
package struct ContainerState: Equatable, Sendable {
  /// How far a container has come.
  package enum Phase: String, Sendable {
    /// The low-level runtime is at work; there is no pid yet.
    case starting
    /// A supervisor has found the container's init and its cgroup.
    case running
  }

  /// The runtime's `--root`, absolute: an id means something only below it.
  package var root: String
  /// The container's id.
  package var id: String
  /// The bundle directory, absolute.
  package var bundle: String
  /// The config that counts, absolute, where it is not the bundle's config.json.
  package var config: String?
  /// "reactive", "observe" or "strict".
  package var policy: PolicyName
  /// The control law that moves its limits, by its name in the operator's config.
  package var law: String?
  /// Whether the hooks in the scheduler are used where the kernel has them.
  package var usesHooks = true
  /// The application, where the annotations name one.
  package var app: String?
  /// How far it has come.
  package var phase: Phase
  /// The process that becomes the low-level runtime.
  package var runtime: ProcessIdentity
  /// Where the low-level runtime writes the pid of init.
  package var pidFile: String
  /// The file that had that name before, which must not be believed.
  package var stalePidFile: FileStatus.Identity?
  /// When that one last changed, in nanoseconds since 1970: crun writes into a file that is there.
  package var stalePidFileModified: Int64?
  /// The last part of the cgroup path that init is expected in.
  package var cgroupName: String?
  /// The cgroup path that config.json asked for, from the hierarchies' root; nil where the path
  /// depends on the caller.
  package var cgroupPath: String?
  /// What the container's own group is called, where the group whose limits move is one of ours around
  /// it; nil for a container that has one group.
  ///
  /// Everything else here is said of the group whose limits move.
  package var innerName: String?
  /// What its own group is called on cgroup v1, where one of ours has the memory limit that moves.
  package var memoryInnerName: String?
  /// Why it has one group although it could be expected to have two, as a clause.
  package var oneGroup: String?
  /// The container's own groups as they were found first, in the form of `/proc/PID/cgroup`.
  ///
  /// From then on they are the container's, wherever its init goes, and after its init has ended.
  package var groups: String?
  /// Why no supervisor moves its limits although it has a policy, as a clause; nil where one does.
  package var unsupervised: String?
  /// Init, once it is known.
  package var initProcess: ProcessIdentity?
  /// The supervisor that wrote this last.
  package var supervisor: ProcessIdentity?
  /// Where use is heard from, for people: "perf wake-up, sampling".
  package var source: String?
  /// Where it is heard from that its memory limit has to move: "bpf"; nil where it does not move.
  package var memorySource: String?
  /// The directory of the cpu controller, and which inode it is.
  package var cpuDirectory: String?
  /// The inode of ``cpuDirectory``: the cgroup's id, which a path that was reused does not have.
  package var cpuInode: UInt64?
  /// The directory of cpuacct.usage; nil where it is ``cpuDirectory``.
  package var usageDirectory: String?
  /// The directory of the memory controller.
  package var memoryDirectory: String?
  /// The interface of the cpu controller.
  package var version: CgroupVersion?
  /// What the container declared, and may move between.
  package var base: CPUBase
  /// The memory limit that was declared, in bytes.
  package var declaredMemory: Int64?
  /// What it declared of memory and may have; nil where its memory limit is left alone.
  package var memory: MemoryBase?
  /// The application that it shares its limits with; nil for a container alone.
  package var membership: ApplicationMembership?
  /// What its history is kept under; nil where none is.
  package var profile: ProfileTarget?
  /// Whether an application lets it in only if there is what its earlier runs needed.
  package var admitsPrediction = false
  /// Whether the operator's ceiling lets the CPU limit of its pod rise with its own.
  package var raisesPodCPU = false
  /// The same of the memory limit.
  package var raisesPodMemory = false
  /// The directory of the group that it is in with others, where that one's CPU limit may be
  /// changed.
  package var cpuParent: String?
  /// The same of its memory limit.
  package var memoryParent: String?
  /// The CPUs of its own that a strict container has; nil for any other.
  package var claim: CPUAllocation?
  /// When the supervisor was ready, on the clock of /proc/PID/stat: init is younger.
  package var readyTicks: Int64

  /// An update that is on its way: noted before the low-level runtime is called.
  package var update: PendingUpdate?

  /// Declares what an update asks for of memory from now on, whether or not its limit is moved.
  ///
  /// - Parameters:
  ///   - limit: In bytes, -1 for no limit; nil for what it was.
  ///   - swap: Memory and swap together likewise.
  package mutating func redeclare(memory limit: Int64?, swap: Int64?) {
    if let limit { declaredMemory = limit > 0 ? limit : nil }
    memory?.redeclare(limit: limit, swap: swap)
  }

  /// Makes the state of a container that is about to be created.
  package init(
    root: String, id: String, bundle: String, policy: PolicyName, runtime: ProcessIdentity,
    pidFile: String, base: CPUBase
  ) {
    self.root = root
    self.id = id
    self.bundle = bundle
    self.policy = policy
    self.runtime = runtime
    self.pidFile = pidFile
    self.base = base
    phase = .starting
    readyTicks = ProcessIdentity.nowTicks()
  }

  /// Reads the file's text; nil when something that must be there is not.
  package init?(text: String) {
    let keyed = KeyValueText(text)
    guard keyed["version"] == "1", let root = keyed["root"], let id = keyed["id"],
      let bundle = keyed["bundle"],
      let policy = keyed["policy"].flatMap({ PolicyName(rawValue: $0) }),
      let runtime = keyed["runtime"].flatMap({ ProcessIdentity($0) }),
      let pidFile = keyed["pidFile"], let base = CPUBase(keyed),
      let phase = keyed["phase"].flatMap({ Phase(rawValue: $0) }),
      let ready = keyed[int: "ready"]
    else { return nil }
    self.init(
      root: root, id: id, bundle: bundle, policy: policy, runtime: runtime, pidFile: pidFile,
      base: base)
    self.phase = phase
    readyTicks = ready
    config = keyed["config"]
    law = keyed["law"]
    usesHooks = keyed["hooks"] != HooksChoice.sampling.rawValue
    app = keyed["app"]
    cgroupName = keyed["cgroupName"]
    cgroupPath = keyed["cgroupPath"]
    innerName = keyed["inner"]
    memoryInnerName = keyed["memoryInner"]
    oneGroup = keyed["oneGroup"]
    groups = keyed["groups"]
    unsupervised = keyed["unsupervised"]
    initProcess = keyed["init"].flatMap { ProcessIdentity($0) }
    supervisor = keyed["supervisor"].flatMap { ProcessIdentity($0) }
    source = keyed["source"]
    memorySource = keyed["memorySource"]
    cpuDirectory = keyed["cpu"]
    cpuInode = keyed["cpuInode"].flatMap { UInt64($0) }
    usageDirectory = keyed["cpuacct"]
    memoryDirectory = keyed["memory"]
    version = keyed["cgroup"].flatMap { CgroupVersion(rawValue: $0) }
    declaredMemory = keyed[int: "declaredMemory"]
    memory = MemoryBase(keyed)
    admitsPrediction = keyed[int: "admitsPrediction"] == 1
    raisesPodCPU = keyed[int: "podCPU"] == 1
    raisesPodMemory = keyed[int: "podMemory"] == 1
    cpuParent = keyed["cpuParent"]
    memoryParent = keyed["memoryParent"]
    claim = CPUAllocation(keyed)
    membership = ApplicationMembership(keyed)
    profile = ProfileTarget(keyed)
    update = PendingUpdate(keyed)
    if let device = keyed["staleDevice"].flatMap({ UInt64($0) }),
      let inode = keyed["staleInode"].flatMap({ UInt64($0) })
    {
      stalePidFile = FileStatus.Identity(device: device, inode: inode)
      stalePidFileModified = keyed[int: "staleModified"]
    }
  }

  /// The file's text.
  package var text: String {
    var keyed = KeyValueText()
    keyed["version"] = "1"
    keyed["root"] = root
    keyed["id"] = id
    keyed["bundle"] = bundle
    keyed["config"] = config
    keyed["policy"] = policy.rawValue
    keyed["law"] = law
    keyed["hooks"] = usesHooks ? nil : HooksChoice.sampling.rawValue
    keyed["app"] = app
    keyed["phase"] = phase.rawValue
    keyed["runtime"] = runtime.description
    keyed["pidFile"] = pidFile
    keyed["staleDevice"] = stalePidFile.map { "\($0.device)" }
    keyed["staleInode"] = stalePidFile.map { "\($0.inode)" }
    keyed["staleModified"] = stalePidFileModified.map { "\($0)" }
    keyed["cgroupName"] = cgroupName
    keyed["cgroupPath"] = cgroupPath
    keyed["inner"] = innerName
    keyed["memoryInner"] = memoryInnerName
    keyed["oneGroup"] = oneGroup
    keyed["groups"] = groups
    keyed["unsupervised"] = unsupervised
    keyed["init"] = initProcess?.description
    keyed["supervisor"] = supervisor?.description
    keyed["source"] = source
    keyed["memorySource"] = memorySource
    keyed["cpu"] = cpuDirectory
    keyed["cpuInode"] = cpuInode.map { "\($0)" }
    keyed["cpuacct"] = usageDirectory
    keyed["memory"] = memoryDirectory
    keyed["cgroup"] = version?.rawValue
    keyed[int: "declaredMemory"] = declaredMemory
    keyed[int: "ready"] = readyTicks
    keyed[int: "admitsPrediction"] = admitsPrediction ? 1 : nil
    keyed[int: "podCPU"] = raisesPodCPU ? 1 : nil
    keyed[int: "podMemory"] = raisesPodMemory ? 1 : nil
    keyed["cpuParent"] = cpuParent
    keyed["memoryParent"] = memoryParent
    base.write(to: &keyed)
    memory?.write(to: &keyed)
    claim?.write(to: &keyed)
    membership?.write(to: &keyed)
    profile?.write(to: &keyed)
    update?.write(to: &keyed)
    return keyed.text
  }

  /// The directory of the container's own group, where the one whose limits move is around it.
  package var innerDirectory: String? { inner(in: cpuDirectory) }

  /// The directory of the group that the processes are in: crun makes one below a scope.
  package var ownDirectory: String? {
    guard let inner = innerDirectory else { return cpuDirectory }
    guard let below = CgroupLocation.below(inner), access(below, F_OK) == 0 else { return inner }
    return below
  }

  /// The same in the memory hierarchy.
  package var innerMemoryDirectory: String? { memoryInner(in: memoryDirectory) }

  /// The container's own group inside an outer group's directory.
  package func inner(in directory: String?) -> String? {
    guard let innerName, let directory else { return nil }
    return directory + "/" + innerName
  }

  /// The same in the memory hierarchy.
  package func memoryInner(in directory: String?) -> String? {
    guard let name = innerName ?? memoryInnerName, let directory else { return nil }
    return directory + "/" + name
  }

  /// Puts the container into one of our groups, in which its own will be.
  package mutating func enter(_ outer: OuterGroup) {
    if outer.kind == .legacy {
      (cgroupName, cgroupPath, memoryInnerName) = (outer.inner, outer.cgroupsPath, outer.inner)
    } else {
      (cgroupName, cgroupPath, innerName) = (outer.name, outer.path, outer.inner)
    }
    takeFirstInner()
  }

  /// Its own group is going to have the most that is known by now.
  package mutating func takeFirstInner() {
    // A strict container has CPUs instead of a CPU limit.
    if innerName != nil, claim == nil {
      let cpu = base.firstInner
      (base.inner, base.told) = (cpu, cpu)
    }
    let most = memory?.firstInner
    memory?.inner = most
    memory?.told = most
  }

  /// Takes that back: it will have one group.
  ///
  /// - Parameters:
  ///   - name: What that is called.
  ///   - path: Its path, as far as that is known.
  package mutating func leaveOuter(name: String, path: String?) {
    (cgroupName, cgroupPath, innerName, memoryInnerName) = (name, path, nil, nil)
    (base.inner, base.told) = (nil, nil)
    memory?.inner = nil
    memory?.told = nil
  }

  /// Opens its bundle.
  package func openBundle() throws(ConfigError) -> Bundle {
    if let config { return try Bundle(config: config) }
    return try Bundle(bundle)
  }

  /// Takes note of what reports its use of memory to its supervisor.
  ///
  /// - Parameter nets: The hooks by which it hears; nil for none.
  package mutating func noteMemorySource(_ nets: HookIDs.Nets?) {
    guard memory != nil, let version else { return memorySource = nil }
    memorySource = MemorySource.of(version, nets).rawValue
  }

  /// Takes note of where the container was found: it runs.
  package mutating func complete(with location: CgroupLocation, inode: UInt64, groups: String) {
    phase = .running
    self.groups = groups
    cpuDirectory = location.cpu
    cpuInode = inode
    usageDirectory = location.cpuacct
    memoryDirectory = location.memory
    version = location.version
    // What crun has below the scope that it asked for, or a container's own systemd, follows that.
    guard let group = location.cpusetGroup, let expected = claim?.group else { return }
    if let innerName {
      claim?.group = group + "/" + innerName
    } else if !group.isGroup(below: expected) {
      claim?.group = CgroupLocation.scope(around: group, named: cgroupName) ?? group
    }
  }
}
