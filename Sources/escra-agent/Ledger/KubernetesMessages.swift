// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// An object as the API server has it.
struct KubernetesObject {
  /// Its `metadata.resourceVersion`.
  var version: String
  /// All of it.
  var json: [UInt8]
}

/// Requests and answers of the Kubernetes API for the custom resource `EscraApplication`.
///
/// An object is called by the application and the resource ("web.cpu") and has the ledger in
/// `spec.ledger`. Versions are `metadata.resourceVersion`
/// (kubernetes.io/docs/reference/using-api/api-concepts).
enum KubernetesMessages {
  static let version = "escra.io/v1alpha1"
  static let kind = "EscraApplication"
  static let plural = "escraapplications"

  /// The object's name.
  ///
  /// The resource comes last, so that no two keys have the same name.
  static func name(_ key: LedgerKey) -> String { key.application + "." + key.resource }

  /// The key of an object.
  static func key(namespace: String, name: String) -> LedgerKey? {
    guard let dot = name.lastIndex(of: ".") else { return nil }
    let resource = String(name[name.index(after: dot)...])
    guard dot > name.startIndex, !resource.isEmpty else { return nil }
    return LedgerKey(
      namespace: namespace, application: String(name[..<dot]), resource: resource)
  }

  /// Where the objects of a namespace are.
  static func collection(_ namespace: String) -> String {
    "/apis/\(version)/namespaces/\(namespace)/\(plural)"
  }

  /// Where an object is.
  static func path(_ key: LedgerKey) -> String { collection(key.namespace) + "/" + name(key) }

  /// The watch of all objects, from a version on; nil: from now on.
  static func watchPath(from version: String?) -> String {
    "/apis/\(Self.version)/\(plural)?watch=true&allowWatchBookmarks=true"
      + (version.map { "&resourceVersion=\($0)" } ?? "")
  }

  /// An object that was read, with another ledger: labels, annotations, owners and whatever else others
  /// have written stays, and so does the version that it replaces.
  ///
  /// - Parameters:
  ///   - old: The object, as JSON.
  ///   - ledger: The ledger, as JSON.
  /// - Returns: The object, as JSON; nil if the old one is none.
  static func object(_ old: [UInt8], with ledger: [UInt8]) -> [UInt8]? {
    guard let json = try? JSONValue(parsing: old), json.isObject else { return nil }
    var members: [String] = []
    json.forEachMember { name, value throws(Never) in
      if name != "spec" { members.append("\(jsonLiteral(name)):\(text(value.compact))") }
    }
    var spec: [String] = []
    _ = json.member("spec") { old -> Bool? in
      old.forEachMember { name, value throws(Never) in
        if name != "ledger" { spec.append("\(jsonLiteral(name)):\(text(value.compact))") }
      }
      return true
    }
    spec.append("\"ledger\":\(text(ledger))")
    members.append("\"spec\":{\(spec.joined(separator: ","))}")
    return Array("{\(members.joined(separator: ","))}".utf8)
  }

  private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  /// The object in a line of a watch.
  static func object(ofWatch line: [UInt8]) -> [UInt8]? {
    (try? JSONValue(parsing: line))?.member("object") { $0.isObject ? $0.compact : nil }
  }

  /// A new object with a ledger.
  ///
  /// - Parameters:
  ///   - key: Its key.
  ///   - ledger: The ledger, as JSON.
  /// - Returns: The object, as JSON.
  static func object(_ key: LedgerKey, _ ledger: [UInt8]) -> [UInt8] {
    let head =
      "{\"apiVersion\":\"\(Self.version)\",\"kind\":\"\(kind)\",\"metadata\":{"
      + "\"name\":\(jsonLiteral(name(key))),\"namespace\":\(jsonLiteral(key.namespace))"
      + "},\"spec\":{\"application\":\(jsonLiteral(key.application)),"
      + "\"resource\":\(jsonLiteral(key.resource)),\"ledger\":"
    return Array(head.utf8) + ledger + Array("}}".utf8)
  }

  /// What a removal asks for.
  static func removal(of version: String?) -> [UInt8] {
    let conditions =
      version.map { ",\"preconditions\":{\"resourceVersion\":\(jsonLiteral($0))}" } ?? ""
    return Array("{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\"\(conditions)}".utf8)
  }

  /// Reads an answer that is an object, or that there is none; nil for any other.
  static func reading(_ status: Int, _ body: [UInt8]) -> LedgerReading? {
    guard let json = JSONValue.ifValid(body) else { return nil }
    if status == 404 {
      // A path that the server does not know is another thing: then the resource is not defined.
      return json.text("details", "kind") == plural ? .absent : nil
    }
    return status == 200 ? reading(json) : nil
  }

  private static func reading(_ json: borrowing JSONValue) -> LedgerReading? {
    guard json.text("kind") == kind, let version = json.text("metadata", "resourceVersion")
    else { return nil }
    let ledger = json.member("spec") { $0.member("ledger") { $0.compact } }
    return .found(ledger ?? [], version: version)
  }

  /// Reads the answer to a PUT, a POST or a DELETE; nil for one that does not say what happened.
  static func swap(_ status: Int, _ body: [UInt8]) -> LedgerSwap? {
    guard let json = JSONValue.ifValid(body) else { return nil }
    switch status {
    case 200, 201:
      // A removal answers with a Status.
      let version = json.text("metadata", "resourceVersion")
      if json.text("kind") == kind, let version { return .succeeded(version: version) }
      return json.text("status") == "Success" ? .succeeded(version: "") : nil
    case 409: return .conflict(nil)
    // To replace or remove: the object is gone.
    case 404: return json.text("details", "kind") == plural ? .conflict(nil) : nil
    default: return nil
    }
  }

  /// What a line of a watch says.
  enum WatchLine: Equatable {
    /// An object has changed, and has this ledger unless it was removed; from this version on nothing
    /// was missed.
    case changed(LedgerKey, version: String, ledger: [UInt8]?)
    /// From this version on nothing was missed.
    case bookmark(version: String)
    /// The version that it began at is too old: 410 Gone.
    case expired
    /// It has ended with another error.
    case ended
  }

  /// Reads one line of a watch.
  static func watchLine(_ line: [UInt8]) -> WatchLine {
    guard let json = JSONValue.ifValid(line), let type = json.text("type") else {
      return .ended
    }
    let said = json.member("object") { object -> WatchLine? in
      if type == "ERROR" { return object.member("code", { $0.integer }) == 410 ? .expired : .ended }
      guard let version = object.text("metadata", "resourceVersion") else { return nil }
      if type == "BOOKMARK" { return .bookmark(version: version) }
      guard let namespace = object.text("metadata", "namespace"),
        let name = object.text("metadata", "name"), let key = key(namespace: namespace, name: name)
      else { return .bookmark(version: version) }
      let ledger = object.member("spec") { $0.member("ledger") { $0.compact } }
      return .changed(key, version: version, ledger: type == "DELETED" ? nil : ledger)
    }
    return said ?? .ended
  }
}
