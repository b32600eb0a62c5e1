// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// Docker's daemon.json: JSON has no comments, so that our runtimes are known by their names.
enum DockerSetup {
  static let path = "/etc/docker/daemon.json"

  /// The text with our runtimes in it.
  ///
  /// - Throws: ``Complaint`` for a file that Docker would not read either.
  static func registered(
    _ text: String?, path: String, _ names: RuntimeNames
  ) throws(Complaint) -> String {
    func entry(_ name: RuntimeNames.Name) -> String {
      "\(TOMLText.quoted(name.name)): { \"path\": \(TOMLText.quoted(name.path)) }"
    }
    let entries = names.all.map(entry)
    guard let text = try unregistered(text, path: path), let root = JSONObject(text) else {
      let lines = entries.map { "    " + $0 }.joined(separator: ",\n")
      return "{\n  \"runtimes\": {\n\(lines)\n  }\n}\n"
    }
    if let runtimes = root.object("runtimes") {
      // In reverse, so that an object that was empty differs from an object of ours.
      let ours = runtimes.members.isEmpty ? Array(entries.reversed()) : entries
      return runtimes.inserting(
        ours.map { "\n    " + $0 }.joined(separator: ",") + (runtimes.members.isEmpty ? "" : ","))
    }
    // An empty object gets another end, so that it differs from a file that was not there.
    return root.inserting(
      "\n  \"runtimes\": {" + entries.map { "\n    " + $0 }.joined(separator: ",")
        + (root.members.isEmpty ? " }" : "\n  },"))
  }

  /// The text without our runtimes; nil for a file that has nothing else.
  static func unregistered(_ text: String?, path: String) throws(Complaint) -> String? {
    guard let text, text.utf8.contains(where: { $0 > 32 }) else { return nil }
    do throws(JSONSyntaxError) { _ = try JSONValue(parsing: Array(text.utf8)) } catch {
      throw Complaint("\(path), \(error.description); mend it first")
    }
    guard let root = JSONObject(text) else {
      throw Complaint("\(path) is no JSON object; mend it first")
    }
    guard let runtimes = root.object("runtimes"),
      runtimes.members.contains(where: { RuntimeNames.words.contains($0.name) })
    else { return text }
    let ours = runtimes.members.map(\.name)
    // What has our names alone, in the order in which a new object gets them, is ours as a whole.
    guard ours == RuntimeNames.words else {
      return runtimes.removing { RuntimeNames.words.contains($0.name) }
    }
    if root.members.count == 1, text == Self.whole(runtimes) { return nil }
    return root.removing { $0.name == "runtimes" }
  }

  /// The file as it is made where there was none.
  private static func whole(_ runtimes: JSONObject) -> String {
    let lines = runtimes.members.map {
      "    " + String(decoding: runtimes.bytes[$0.whole], as: UTF8.self)
    }
    return "{\n  \"runtimes\": {\n\(lines.joined(separator: ",\n"))\n  }\n}\n"
  }
}
