// SPDX-License-Identifier: Apache-2.0
internal import OCISpec

/// Requests and answers of etcd's JSON gateway, versions 3.4 and later.
///
/// Numbers of 64 bits are strings, keys and values are Base64
/// (etcd.io/docs/v3.5/dev-guide/api_grpc_gateway).
enum EtcdMessages {
  /// What all keys begin with.
  static let prefix = "/escra/v1/"

  private static func encoded(_ key: LedgerKey) -> String {
    "\"" + Base64.encode(Array((prefix + key.description).utf8)) + "\""
  }

  /// A linearizable read.
  static func range(_ key: LedgerKey) -> [UInt8] { Array("{\"key\":\(encoded(key))}".utf8) }

  /// A swap, which reads the object where it fails.
  ///
  /// An object that is not there has the revision 0.
  static func transaction(
    _ key: LedgerKey, _ bytes: [UInt8]?, expecting version: String?
  ) -> [UInt8] {
    let name = encoded(key)
    let change =
      bytes.map {
        "{\"request_put\":{\"key\":\(name),\"value\":\"\(Base64.encode($0))\"}}"
      } ?? "{\"request_delete_range\":{\"key\":\(name)}}"
    return Array(
      ("{\"compare\":[{\"key\":\(name),\"target\":\"MOD\",\"result\":\"EQUAL\","
        + "\"mod_revision\":\(jsonLiteral(version ?? "0"))}],\"success\":[\(change)],"
        + "\"failure\":[{\"request_range\":{\"key\":\(name)}}]}").utf8)
  }

  /// A watch of all keys.
  static func watch() -> [UInt8] {
    var end = Array(prefix.utf8)
    end[end.count - 1] += 1
    return Array(
      ("{\"create_request\":{\"key\":\"\(Base64.encode(Array(prefix.utf8)))\","
        + "\"range_end\":\"\(Base64.encode(end))\"}}").utf8)
  }

  /// Reads the answer to ``range(_:)``; nil for bytes that are none.
  static func reading(_ body: [UInt8]) -> LedgerReading? {
    guard let json = JSONValue.ifValid(body) else { return nil }
    return reading(json)
  }

  private static func reading(_ json: borrowing JSONValue) -> LedgerReading? {
    // An answer has a header; without one an empty object would stand for an absent key.
    guard json.member("header", { $0.isObject }) == true else { return nil }
    var found: LedgerReading? = .absent
    _ = json.member("kvs") { kvs -> Bool? in
      kvs.forEachElement { kv throws(Never) in
        guard let version = kv.text("mod_revision"),
          // A value of no bytes is left out.
          let bytes = Base64.decode(kv.text("value") ?? "")
        else {
          found = nil
          return
        }
        found = .found(bytes, version: version)
      }
      return true
    }
    return found
  }

  /// Reads the answer to ``transaction(_:_:expecting:)``; nil for bytes that are none.
  ///
  /// - Parameters:
  ///   - body: The answer.
  ///   - proposed: What was to be written. libcurl sends a request again if a connection that it
  ///     has used before breaks, and so the conflict may be with this very request.
  /// - Returns: The outcome.
  static func swap(_ body: [UInt8], proposed: [UInt8]?) -> LedgerSwap? {
    guard let json = JSONValue.ifValid(body),
      let revision = json.text("header", "revision")
    else { return nil }
    if json.member("succeeded", { $0.isTrue }) == true { return .succeeded(version: revision) }
    var current: LedgerReading?
    _ = json.member("responses") { responses -> Bool? in
      responses.forEachElement { response throws(Never) in
        current = response.member("response_range") { reading($0) } ?? current
      }
      return true
    }
    if case .found(let bytes, let version)? = current, bytes == proposed {
      return .succeeded(version: version)
    }
    return .conflict(current)
  }

  /// What a line of a watch says.
  enum WatchLine: Equatable {
    /// The watch stands.
    case created
    /// These objects have changed, each named once.
    case changed([Change])
    /// The watch has ended: its member lags, or revisions were compacted.
    case ended
    /// Nothing of interest.
    case other
  }

  /// An object that has changed, and what it is now; nil: it was removed.
  struct Change: Equatable {
    var key: LedgerKey
    var now: LedgerReading?
  }

  /// Reads one line of a watch.
  static func watchLine(_ line: [UInt8]) -> WatchLine {
    guard let json = JSONValue.ifValid(line) else { return .ended }
    let said = json.member("result") { result -> WatchLine? in
      if result.member("canceled", { $0.isTrue }) == true { return .ended }
      if result.member("created", { $0.isTrue }) == true { return .created }
      var changes: [Change] = []
      _ = result.member("events") { events -> Bool? in
        events.forEachElement { event throws(Never) in
          guard let key = key(of: event) else { return }
          // Of several changes of an object the last one counts.
          changes.removeAll { $0.key == key }
          changes.append(Change(key: key, now: value(of: event)))
        }
        return true
      }
      return changes.isEmpty ? .other : .changed(changes)
    }
    // {"error": …} is the last line of a stream.
    return said ?? .ended
  }

  private static func value(of event: borrowing JSONValue) -> LedgerReading? {
    if event.text("type") == "DELETE" { return nil }
    guard let version = event.text("kv", "mod_revision"),
      let bytes = event.text("kv", "value").flatMap({ Base64.decode($0) })
    else { return nil }
    return .found(bytes, version: version)
  }

  private static func key(of event: borrowing JSONValue) -> LedgerKey? {
    guard let text = event.text("kv", "key"), let bytes = Base64.decode(text) else { return nil }
    let name = String(decoding: bytes, as: UTF8.self)
    return name.hasPrefix(prefix) ? LedgerKey(name.dropFirst(prefix.count)) : nil
  }
}
