// SPDX-License-Identifier: Apache-2.0

struct CpusetGroup {
  var path: String, inode: UInt64, cpus: CPUSet, hasProcesses: Bool
  var parent: String {
    var p = path; while let last = p.popLast(), last != "/" {}; return p.isEmpty ? "/" : p
  }
}
struct Neighbour: Equatable { var inode: UInt64, declared: CPUSet, applied: CPUSet }
struct Holder {
  var cpus: CPUSet
  var path: String
  var inode: UInt64?
  func has(_ group: CpusetGroup) -> Bool {
    group.path == path && (inode == nil || inode == group.inode)
  }
}
struct FenceWrite { var path: String, cpus: CPUSet }
struct FencePlan { var writes: [FenceWrite] = [], neighbours: [Neighbour] = [] }
enum Fence {
  static func plan(groups: [CpusetGroup], holders: [Holder], neighbours: [Neighbour]) -> FencePlan {
    guard let root = groups.first else { return FencePlan() }
    let shared = holders.reduce(root.cpus) { $0.subtracting($1.cpus) }
    struct Node {
      var declared: CPUSet, desired: CPUSet, fenced: Bool, skip: Bool, applied: CPUSet?
    }
    var nodes: [String: Node] = [
      root.path: Node(
        declared: root.cpus, desired: root.cpus, fenced: false, skip: false, applied: nil)
    ]
    let holderPaths = groups.filter { g in holders.contains { $0.has(g) } }.map(\.path)
    var plan = FencePlan()
    for group in groups.dropFirst() {
      var parentPath = group.path
      while let last = parentPath.popLast(), last != "/" {}
      if parentPath.isEmpty { parentPath = "/" }
      guard let parent = nodes[parentPath], !group.cpus.isEmpty else { continue }
      let isHolder = holders.contains { $0.has(group) }
      if isHolder || parent.skip {
        nodes[group.path] = Node(
          declared: group.cpus, desired: group.cpus, fenced: false, skip: true, applied: nil)
        continue
      }
      let known = neighbours.first { $0.inode == group.inode }
      var declared = group.cpus
      if let known, known.applied == group.cpus {
        declared = known.declared
      } else if known == nil, let applied = parent.applied, applied != parent.declared,
        applied == group.cpus
      {
        declared = parent.declared
      }
      let isAbove = holderPaths.contains { $0.utf8.starts(with: (group.path + "/").utf8) }
      let fenced = !holders.isEmpty && !isAbove && (group.hasProcesses || parent.fenced)
      var desired = declared
      if fenced {
        let limit = parent.fenced ? parent.desired : shared
        desired = declared.intersection(limit)
        if desired.isEmpty { desired = parent.desired.intersection(shared) }
      } else if !declared.isSubset(of: parent.desired) {
        desired = declared.intersection(parent.desired)
      } else if !holders.isEmpty, declared.isDisjoint(with: shared) {
        desired = declared.union(parent.desired.intersection(shared))
      }
      nodes[group.path] = Node(
        declared: declared, desired: desired, fenced: fenced, skip: false, applied: known?.applied)
      if desired != declared || known != nil && group.cpus != declared {
        plan.neighbours.append(Neighbour(inode: group.inode, declared: declared, applied: desired))
      }
      if !desired.isSubset(of: group.cpus) {
        plan.writes.append(FenceWrite(path: group.path, cpus: group.cpus.union(desired)))
      }
    }
    for group in groups.dropFirst().reversed() {
      guard let node = nodes[group.path], !node.skip else { continue }
      let now = group.cpus.union(node.desired)
      if now != node.desired {
        plan.writes.append(FenceWrite(path: group.path, cpus: node.desired))
      }
    }
    return plan
  }
}
