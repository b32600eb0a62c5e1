// SPDX-License-Identifier: Apache-2.0

/// The known name that a misspelt one most likely meant, or nil where none is near.
///
/// Near is a third of the word's letters, at least one. The first of equally near names wins.
func nearestName(to word: String, among names: some Sequence<String>) -> String? {
  let letters = Array(word.utf8)
  // No known name is as long, and the work is the product of both lengths.
  if letters.count > 64 { return nil }
  var nearest: (name: String, distance: Int)?
  for name in names {
    let distance = editDistance(letters, Array(name.utf8))
    if distance < nearest?.distance ?? .max { nearest = (name, distance) }
  }
  guard let nearest, nearest.distance <= max(letters.count / 3, 1) else { return nil }
  return nearest.name
}

/// How many insertions, deletions, replacements and swaps of neighbours turn `a` into `b`
/// (optimal string alignment).
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in a.indices {
    var row = [i + 1]
    for j in b.indices {
      var cost = min(row[j], last[j + 1]) + 1
      cost = min(cost, last[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
        cost = min(cost, beforeLast[j - 1] + 1)
      }
      row.append(cost)
    }
    beforeLast = last
    last = row
  }
  return last[b.count]
}
