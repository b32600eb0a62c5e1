// SPDX-License-Identifier: Apache-2.0

/// A container that a person may mean.
struct Candidate {
  let id: String
  /// The runtime's root.
  let root: String
  /// What engines call it.
  var name: ContainerName?
}

/// Finds the container that a person means: by its id, its name, or the beginning of its id.
///
/// In this order, which is Docker's: what is a whole id or name is the beginning of no other.
///
/// - Parameters:
///   - wanted: What was typed.
///   - root: The runtime's root that was typed, if any.
///   - candidates: The containers there are.
///   - missing: What to say when there is none; nil for the sentence about supervised containers.
/// - Returns: The index of the container that is meant.
/// - Throws: ``Complaint`` when there is none, or more than one.
func choose(
  _ wanted: String, root: String? = nil, among candidates: [Candidate], missing: String? = nil
) throws(Complaint) -> Int {
  let all = candidates.indices.filter { (root ?? candidates[$0].root) == candidates[$0].root }
  let named = all.filter { candidates[$0].name?.words.contains(wanted) == true }
  let exact = all.filter { candidates[$0].id == wanted }
  let begun = all.filter { candidates[$0].id.utf8.starts(with: wanted.utf8) }
  let found = exact.isEmpty ? named.isEmpty ? begun : named : exact
  guard !wanted.isEmpty, let last = found.last else {
    throw Complaint(
      missing
        ?? "no supervised container is called \"\(wanted)\" or has an id that begins so; escra ps "
        + "lists them")
  }
  if found.count == 1 { return last }
  let ids = Set(found.map { candidates[$0].id })
  let roots = Set(found.map { candidates[$0].root })
  guard ids.count == 1 else {
    let list = ids.sorted().joined(separator: ", ")
    throw Complaint(
      exact.isEmpty && !named.isEmpty
        ? "\(ids.count) containers are called \"\(wanted)\"; name one by its id: \(list)"
        : "\"\(wanted)\" is the beginning of \(ids.count) ids; type more of it: \(list)")
  }
  if roots.count > 1 {
    throw Complaint(
      "\(found.count) containers are called \"\(wanted)\"; name one with --root: "
        + roots.sorted().joined(separator: ", "))
  }
  // The same container twice: an earlier instance is on its way out, the list's last is newer.
  return last
}
