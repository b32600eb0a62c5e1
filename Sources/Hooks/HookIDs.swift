// SPDX-License-Identifier: Apache-2.0
internal import CBPF
package import Syscalls

/// What the programs in the scheduler are called, as their loader says it.
extension HookIDs {
  /// The programs and their layout, as a number: hooks of another version live beside ours.
  package static var layout: UInt64 { escra_hooks_layout() }

  init(_ ids: escra_hook_ids) {
    let all = [
      Link(id: ids.links.0, program: ids.programs.0),
      Link(id: ids.links.1, program: ids.programs.1),
      Link(id: ids.links.2, program: ids.programs.2),
    ]
    self.init(
      groups: ids.groups, rings: ids.rings, links: Array(all.prefix(Int(ids.link_count))),
      nets: Nets(rawValue: ids.nets))
  }

  var ids: escra_hook_ids {
    var ids = escra_hook_ids()
    ids.groups = groups
    ids.rings = rings
    ids.nets = nets.rawValue
    ids.link_count = UInt32(links.count)
    func link(_ index: Int) -> Link {
      index < links.count ? links[index] : Link(id: 0, program: 0)
    }
    ids.links = (link(0).id, link(1).id, link(2).id)
    ids.programs = (link(0).program, link(1).program, link(2).program)
    return ids
  }
}
