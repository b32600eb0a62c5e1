// SPDX-License-Identifier: Apache-2.0

/// Finds the container that a person means by an id or the beginning of one.
///
/// - Parameters:
///   - wanted: What was typed.
///   - root: The runtime's root that was typed, if any.
///   - candidates: The containers there are.
/// - Returns: The index of the one that is meant.
/// - Throws: ``Complaint`` when there is none, or more than one.
func choose(
  _ wanted: String, root: String? = nil, among candidates: [(id: String, root: String)]
) throws(Complaint) -> Int {
  let matching = candidates.indices.filter {
    candidates[$0].id.utf8.starts(with: wanted.utf8)
      && (root ?? candidates[$0].root) == candidates[$0].root
  }
  let exact = matching.filter { candidates[$0].id == wanted }
  let found = exact.isEmpty ? matching : exact
  if wanted.isEmpty || found.isEmpty {
    throw Complaint("no supervised container's id begins with \"\(wanted)\"; escra ps lists them")
  }
  guard let only = found.first, found.count == 1 else {
    let ids = Set(found.map { candidates[$0].id })
    let roots = Set(found.map { candidates[$0].root })
    if ids.count == 1 && roots.count > 1 {
      throw Complaint(
        "\(found.count) containers are called \"\(wanted)\"; say which with --root: "
          + roots.sorted().joined(separator: ", "))
    }
    // The same container twice: an earlier instance is on its way out, the list's last is newer.
    if ids.count == 1, let last = found.last { return last }
    throw Complaint(
      "\"\(wanted)\" is the beginning of \(ids.count) ids; type more of one: "
        + ids.sorted().joined(separator: ", "))
  }
  return only
}
