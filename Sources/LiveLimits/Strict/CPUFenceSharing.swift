// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Quantities
internal import State
internal import Syscalls

extension CPUFence {
  /// Has a strict container that runs on share its CPUs, and have what it would without us: the CPU
  /// set that it declares, or all that the group around its own has.
  ///
  /// Memory nodes stay as they are: what it has allocated is there.
  ///
  /// - Parameter directory: Its instance; its lock is the caller's.
  /// - Throws: ``SystemError``, as ``settle(_:leaver:)`` does; then its CPUs are its own no more,
  ///   but not all of them know.
  func share(_ directory: borrowing StateDirectory) throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    guard let state = directory.load(), let claim = state.claim else { return }
    try giveUpCPUs(of: state, directory, registry)
    guard let inode = tree.inode(of: claim.group), inode == claim.inode else { return }
    let around = tree.existing(above: claim.group)
    let allowed = tree.allowedCPUs(in: around) ?? CPUSet(Machine.onlineCPUs())
    let asked = claim.asked.set.map { $0.intersection(allowed) } ?? allowed
    let declared = asked.isEmpty ? allowed : asked
    let taken = registry.holders().reduce(CPUSet()) { $0.union($1.claim.held) }
    let cpus = declared.subtracting(taken)
    if cpus.isEmpty { return }
    if cpus != declared, var record = registry.loadNeighbours() {
      // From here on it is a neighbour of the other strict containers, and gets the rest when they
      // end.
      record.neighbours.removeAll { $0.inode == inode }
      record.neighbours.append(Neighbour(inode: inode, declared: declared, applied: cpus))
      try registry.save(record)
    }
    try state.setCPUs(cpus, of: declared, in: tree)
    try settle(registry)
  }
}
