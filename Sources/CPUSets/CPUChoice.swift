// SPDX-License-Identifier: Apache-2.0
internal import Quantities

/// The choice of some CPUs among those that are free: close together, in whole cores, and so that
/// what remains is as whole as can be.
///
/// Ties go to the highest number, because CPU 0 serves interrupts and housekeeping.
struct CPUChoice {
  let topology: CPUTopology
  /// What there is to choose from.
  let free: CPUSet
  /// What the container has already; a part of ``free``.
  let own: CPUSet

  /// Within what CPUs lie close together, the closest first.
  private enum Level: CaseIterable {
    case node, package, machine

    func place(of core: CPUTopology.Core) -> Int32 {
      switch self {
      case .node: core.node
      case .package: core.package
      case .machine: 0
      }
    }

    /// What a place at this level consists of.
    ///
    /// A node has several packages in virtual machines, and where the memory is interleaved.
    var parts: Level { self == .node ? .package : .node }
  }

  /// The best so many CPUs: one's own as far as they go, and others near them.
  ///
  /// - Parameter count: At least 1, and at most as many as are free.
  /// - Returns: As many.
  func best(_ count: Int) -> CPUSet {
    if own.count >= count {
      return CPUChoice(topology: topology, free: own, own: CPUSet()).close(count)
    }
    return own.union(close(count - own.count))
  }

  /// So many more CPUs, from the smallest place that has them.
  private func close(_ count: Int) -> CPUSet {
    for level in Level.allCases {
      let places = Dictionary(grouping: topology.cores, by: level.place)
      let choices = (own.isEmpty ? Array(places.values) : [near(level, places)])
        .filter { rest(of: $0).count >= count }
        .map { (place: $0, cpus: whole(count, of: fewest(level.parts, with: count, of: $0))) }
      if let best = choices.min(by: { cost($0.cpus, $0.place) < cost($1.cpus, $1.place) }) {
        return best.cpus
      }
    }
    return CPUSet()
  }

  /// The cores that share a place with one's own.
  private func near(
    _ level: Level, _ places: [Int32: [CPUTopology.Core]]
  ) -> [CPUTopology.Core] {
    places.values.filter { $0.contains(where: isOwn) }.flatMap { $0 }
  }

  /// What a choice from a place costs: cores that are shared with other containers, cores that were
  /// whole, and then how much room there was for a container that needs more.
  private func cost(_ cpus: CPUSet, _ place: [CPUTopology.Core]) -> (Int, Int, Int, Int32) {
    let shared = place.filter {
      !$0.cpus.isDisjoint(with: cpus) && !$0.cpus.isSubset(of: cpus.union(own))
    }
    let rest = rest(of: place)
    return (shared.count, shared.count { isWhole($0) }, rest.count, -Self.highest(rest))
  }

  /// The cores of the fewest parts of a place that have so many CPUs together: one's own first, then
  /// those in one's own packages.
  ///
  /// - Returns: The cores of each part; the last may have more than is needed.
  private func fewest(
    _ parts: Level, with count: Int, of place: [CPUTopology.Core]
  ) -> [[CPUTopology.Core]] {
    let packages = Set(place.filter(isOwn).map(\.package))
    let all = Dictionary(grouping: place, by: parts.place).values
      .sorted { Self.highest(rest(of: $0)) > Self.highest(rest(of: $1)) }
    var chosen = all.filter { $0.contains(where: isOwn) }
    var missing = count - rest(of: chosen.flatMap { $0 }).count
    for isNear in [true, false] {
      var others = all.filter { part in
        !part.contains(where: isOwn)
          && part.contains { packages.contains($0.package) } == isNear
      }
      while missing > 0, let next = fitting(missing, others, count: { rest(of: $0).count }) {
        missing -= rest(of: others[next]).count
        chosen.append(others.remove(at: next))
      }
    }
    return chosen
  }

  /// So many CPUs of the parts of a place, in whole cores as long as there are some.
  private func whole(_ count: Int, of parts: [[CPUTopology.Core]]) -> CPUSet {
    var taken = CPUSet()
    var missing = count
    func take(_ core: CPUTopology.Core) {
      let cpus = CPUSet(rest(of: [core]).cpus.suffix(missing))
      taken = taken.union(cpus)
      missing -= cpus.count
    }

    let cores = parts.flatMap { part in
      part.sorted {
        ($0.cpus.count, Self.highest($0.cpus)) > ($1.cpus.count, Self.highest($1.cpus))
      }
    }
    cores.filter(isOwn).forEach(take)
    for core in cores where isWhole(core) && core.cpus.count <= missing { take(core) }

    // What is missing now is less than any whole core that is left.
    var broken = cores.filter { !isOwn($0) && !isWhole($0) }
    let brokenCount = rest(of: broken).count
    if brokenCount < missing {
      broken = cores.filter { isWhole($0) && $0.cpus.isDisjoint(with: taken) }
    }
    while missing > 0, let next = fitting(missing, broken, count: { rest(of: [$0]).count }) {
      take(broken.remove(at: next))
    }
    return taken
  }

  /// Which one has room for so many and the least of it, or else the most room; the first of equals.
  private func fitting<Place>(
    _ missing: Int, _ places: [Place], count: (Place) -> Int
  ) -> Int? {
    let counts = places.map(count)
    return places.indices.filter { counts[$0] >= missing }.min { counts[$0] < counts[$1] }
      ?? places.indices.max { counts[$0] < counts[$1] }
  }

  /// What is left of some cores.
  private func rest(of cores: [CPUTopology.Core]) -> CPUSet {
    cores.reduce(CPUSet()) { $0.union($1.cpus) }.intersection(free).subtracting(own)
  }

  private func isOwn(_ core: CPUTopology.Core) -> Bool { !core.cpus.isDisjoint(with: own) }

  private func isWhole(_ core: CPUTopology.Core) -> Bool {
    !isOwn(core) && core.cpus.isSubset(of: free)
  }

  private static func highest(_ cpus: CPUSet) -> Int32 { cpus.cpus.last ?? -1 }
}
