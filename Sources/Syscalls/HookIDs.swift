// SPDX-License-Identifier: Apache-2.0

/// What one load of the hooks is called by the kernel, as it is written down for others.
package struct HookIDs: Equatable, Sendable {
  /// Ids of the maps.
  package let groups, rings: UInt32
  /// Ids of the links and of the programs behind them.
  package let links: [Link]
  /// What there is beside the program that predicts.
  package let nets: Nets

  /// A link, and what it links.
  package struct Link: Equatable, Sendable {
    /// The link's id.
    package let id: UInt32
    /// Its program's id.
    package let program: UInt32
    /// Makes a link of its ids.
    package init(id: UInt32, program: UInt32) { (self.id, self.program) = (id, program) }
  }

  /// What was attached beside the program that predicts: others that see throttles which it does not,
  /// from Linux 6.18 none; and the one that minds memory.
  package struct Nets: OptionSet, Sendable {
    /// Bits of escra_hook_net.
    package let rawValue: UInt32
    /// Makes a set of bits.
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// fexit/throttle_cfs_rq.
    package static let throttle = Nets(rawValue: 1)
    /// tp_btf/sched_wakeup.
    package static let wakeup = Nets(rawValue: 2)
    /// fentry/page_counter_try_charge: the last link is its.
    package static let memory = Nets(rawValue: 4)
    /// The kernel would not have that one, and is not asked again.
    package static let memoryRefused = Nets(rawValue: 8)

    /// What detects a container's need of CPU time with these, as its state says it: "bpf".
    package var source: String { description.isEmpty ? "bpf" : "bpf, " + description }

    /// Those that see throttles, for people: "throttle_cfs_rq"; empty for none.
    package var description: String {
      let names: [(Nets, String)] = [
        (.throttle, "throttle_cfs_rq"), (.wakeup, "sched_wakeup"),
      ]
      return names.filter { contains($0.0) }.map(\.1).joined(separator: "+")
    }
  }

  /// The same without the program that minds memory: for who does not, and is not to keep it.
  package var withoutMemory: HookIDs {
    HookIDs(
      groups: groups, rings: rings, links: nets.contains(.memory) ? links.dropLast() : links,
      nets: nets.subtracting(.memory))
  }

  /// Makes an identity from its parts.
  package init(groups: UInt32, rings: UInt32, links: [Link], nets: Nets) {
    (self.groups, self.rings, self.links, self.nets) = (groups, rings, links, nets)
  }

  /// Numbers in a line.
  package var text: String {
    ([groups, rings, nets.rawValue] + links.flatMap { [$0.id, $0.program] })
      .map { "\($0)" }.joined(separator: " ") + "\n"
  }

  /// Reads ``text`` back; nil for anything else, as half a line.
  package init?(_ text: some StringProtocol) {
    guard text.last == "\n" else { return nil }
    let words = text.dropLast().split(separator: " ").map { UInt32($0) }
    let numbers = words.compactMap(\.self)
    guard numbers.count == words.count, [5, 7, 9].contains(numbers.count) else { return nil }
    groups = numbers[0]
    rings = numbers[1]
    nets = Nets(rawValue: numbers[2])
    links = stride(from: 3, to: numbers.count, by: 2).map {
      Link(id: numbers[$0], program: numbers[$0 + 1])
    }
  }
}
