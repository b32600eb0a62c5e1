// SPDX-License-Identifier: Apache-2.0
internal import Quantities

extension CgroupLocation {
  /// The group right above a container's own.
  ///
  /// - Parameters:
  ///   - directory: The group that its processes are in, in some hierarchy.
  ///   - name: What the group is called that config.json asked for.
  /// - Returns: nil for a group that is in none.
  package static func parent(of directory: String, named name: String?) -> String? {
    let own = scope(around: directory, named: name) ?? directory
    guard let slash = own.utf8.lastIndex(of: UInt8(ascii: "/")), slash != own.startIndex else {
      return nil
    }
    return String(own[..<slash])
  }

  /// Whether a kubelet has made this group for one pod: `…/kubepods/burstable/podUID`, or
  /// `…/kubepods-burstable-podUID.slice` below `kubepods.slice` where systemd makes groups; a kubelet
  /// may have been told to make all of it somewhere below (`--cgroup-root`), and then the slices have
  /// that one's name in front.
  package static func isPod(_ directory: String) -> Bool {
    let parts = directory.split(at: "/")
    guard let last = parts.last else { return false }
    let isSlice = last.utf8.suffix(6).elementsEqual(".slice".utf8)
    guard
      isSlice
        ? last.split(separator: "-").last?.utf8.starts(with: "pod".utf8) == true
        : last.utf8.starts(with: "pod".utf8)
    else { return false }
    return parts.dropLast().contains { part in
      isSlice
        ? part == "kubepods.slice" || part.utf8.suffix(15).elementsEqual("-kubepods.slice".utf8)
        : part == "kubepods"
    }
  }
}
