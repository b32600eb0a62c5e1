// SPDX-License-Identifier: Apache-2.0
internal import CBPF
package import Control
internal import Glibc
package import Syscalls

/// The BPF programs that tell of a limit before it is hit: one set for the whole host.
///
/// The first process loads them, all others open them by the ids that the first one wrote
/// down; nothing is pinned. The kernel keeps them as long as one supervisor holds the links, and a
/// supervisor that dies leaves entries behind that cost no time (Sources/CBPF/bpf/hooks.bpf.c).
package struct SchedulerHooks: ~Copyable {
  /// What there is beside the program that predicts.
  package let nets: HookIDs.Nets
  private let groups: FileDescriptor
  private let rings: FileDescriptor
  private var links: [Int32]
  private var ring: FileDescriptor

  /// Opens what another process has loaded.
  ///
  /// - Parameters:
  ///   - identity: Its ids.
  ///   - id: That of the ring that was made for this process; nil for none.
  /// - Throws: ``SystemError``: ENOENT when it is gone, ESTALE when an id is another object's by
  ///   now, EPERM without CAP_SYS_ADMIN.
  package init(opening identity: HookIDs, ring id: UInt32? = nil) throws(SystemError) {
    let ring =
      if let id {
        FileDescriptor(owning: try retrying("open", "a ring") { escra_ring_open(id) })
      } else { FileDescriptor.none }
    var ids = identity.ids
    var files = escra_hook_files()
    try retrying("open", "the hooks in the scheduler") { escra_hooks_open(&ids, &files) }
    nets = identity.nets
    groups = FileDescriptor(owning: files.groups)
    rings = FileDescriptor(owning: files.rings)
    links = [files.links.0, files.links.1, files.links.2].filter { $0 >= 0 }
    self.ring = ring
  }

  deinit { for link in links { close(link) } }

  /// Loads the programs, attaches them, and says what they are.
  ///
  /// They live as long as this process or a process that has opened them. For a process of its own
  /// that ends soon: no process is to keep libbpf's heap.
  ///
  /// - Throws: ``SystemError`` with what the kernel says to the last of the attempts: EPERM, or
  ///   ESRCH and ENOENT without /sys/kernel/btf/vmlinux.
  package static func load() throws(SystemError) -> HookIDs {
    var ids = escra_hook_ids()
    try retrying("load", "the hooks in the scheduler") { escra_hooks_load(&ids) }
    return HookIDs(ids)
  }

  /// Loads the program that minds memory on the maps of what is loaded already, as ``load()`` does.
  ///
  /// - Parameter identity: What is loaded, without it.
  /// - Returns: The same with it, or with the note that the kernel would not have it.
  package static func loadMemory(onto identity: HookIDs) -> HookIDs {
    var ids = identity.ids
    _ = escra_hooks_load_memory(&ids)
    return HookIDs(ids)
  }

  /// Makes the ring by which a supervisor hears, and hangs it in.
  ///
  /// The kernel waits for an RCU grace period at this, some 10 ms (map_update_elem() of a map of maps,
  /// kernel/bpf/syscall.c): so it is done before there is a container.
  ///
  /// - Parameter owner: The supervisor.
  /// - Returns: The ring, which hangs there until it is swept away.
  /// - Throws: ``SystemError``.
  package func hangRing(of owner: ProcessIdentity) throws(SystemError) -> SchedulerRing {
    let ring = FileDescriptor(owning: try retrying("make", "a ring") { escra_ring_create() })
    let number = ring.number
    try retrying("connect", "a ring") {
      escra_hooks_connect(rings.number, Self.key(of: owner), number)
    }
    return try SchedulerRing(ring)
  }

  /// Tells the programs of a container; what they see of it comes into the ring.
  ///
  /// - Parameters:
  ///   - group: The id of its cgroup in the cpu hierarchy: the inode of its directory. On cgroup v2
  ///     its memory has the same.
  ///   - outer: That of a group around it which has the same limit.
  ///   - limits: What is worth telling.
  ///   - owner: The supervisor that has a ring here.
  /// - Throws: ``SystemError``.
  package func watch(
    _ group: UInt64, outer: UInt64?, _ limits: HookLimits, owner: ProcessIdentity
  ) throws(SystemError) {
    var entry = escra_hook_group()
    entry.ring = Self.key(of: owner)
    entry.floor = UInt64(max(0, limits.floor))
    entry.quiet = UInt64(max(0, limits.quiet))
    entry.margin = UInt64(max(0, limits.margin))
    entry.near = UInt64(max(0, limits.near) / Int64(sysconf(Int32(_SC_PAGESIZE))))
    for id in [group, outer].compactMap(\.self) {
      try retrying("watch", "a group") { escra_hooks_watch(groups.number, id, &entry) }
    }
  }

  /// A supervisor as the key of its ring: its pid, and what fits of when it started.
  private static func key(of owner: ProcessIdentity) -> UInt64 {
    UInt64(UInt32(bitPattern: owner.pid)) << 32
      | UInt64(UInt32(truncatingIfNeeded: owner.startTicks))
  }

  /// Removes what dead supervisors have left.
  ///
  /// - Parameter living: The process that has a pid, if it is alive.
  package func sweep(living: (_ pid: Int32) -> ProcessIdentity?) {
    func isDead(_ owner: UInt64) -> Bool {
      living(Int32(truncatingIfNeeded: owner >> 32)).map { Self.key(of: $0) } != owner
    }
    for group in Self.keys(of: groups) {
      var entry = escra_hook_group()
      if escra_hooks_look(groups.number, group, &entry) == 0, isDead(entry.ring) {
        _ = escra_hooks_remove(groups.number, group)
      }
    }
    for owner in Self.keys(of: rings) where isDead(owner) {
      _ = escra_hooks_remove(rings.number, owner)
    }
  }

  private static func keys(of map: borrowing FileDescriptor) -> [UInt64] {
    var keys: [UInt64] = []
    var next: UInt64 = 0
    var result = escra_hooks_next(map.number, nil, &next)
    // A key that goes meanwhile starts the walk over: a bound keeps that from being for ever.
    while result == 0 && keys.count < 1 << 20 {
      keys.append(next)
      var key = next
      result = escra_hooks_next(map.number, &key, &next)
    }
    return keys
  }

  /// What a supervisor holds of them, and hears by, for one in another process: the ring, the links.
  package func files(with ring: borrowing SchedulerRing) -> [Int32] { [ring.number] + links }

  /// Gives the ring away, and the links, which keep the programs alive: for another image.
  package consuming func release() -> (ring: Int32, links: [Int32]) {
    let links = links
    self.links = []
    let empty = FileDescriptor.none
    return (exchange(&ring, with: empty).release(), links)
  }
}

/// A supervisor's ring, in a process that made it for another one.
package struct SchedulerRing: ~Copyable {
  /// What the kernel calls it.
  package let id: UInt32
  private let ring: FileDescriptor
  fileprivate var number: Int32 { ring.number }

  package init(_ ring: consuming FileDescriptor) throws(SystemError) {
    var id: UInt32 = 0
    let number = ring.number
    try retrying("identify", "a ring") { escra_map_id(number, &id) }
    self.id = id
    self.ring = ring
  }
}
