// SPDX-License-Identifier: Apache-2.0
internal import Quantities
internal import State

/// Objects that all nodes read and replace: what an engine has to be able to do.
///
/// Versions are the engine's, and opaque. All answers come from the loop, later than the call, and
/// once.
protocol Ledger: AnyObject {
  /// Reads the newest value of an object.
  func read(_ key: LedgerKey, _ done: @escaping (LedgerReading) -> Void)
  /// Replaces an object if it still has a version; nil: makes it, if there is none.
  ///
  /// nil for the bytes removes it.
  func swap(
    _ key: LedgerKey, to bytes: [UInt8]?, expecting version: String?,
    _ done: @escaping (LedgerSwap) -> Void)
  /// Has `hint` called when objects may have changed.
  ///
  /// A hint may be missing or late; truth is what ``read(_:_:)`` gives.
  func watch(_ hint: @escaping (LedgerHint) -> Void)
  /// Stops it.
  func stopWatching()
  /// No application of this node has the object any more.
  func forget(_ key: LedgerKey)
  /// What is known of the engine.
  var status: ClusterStatus.Engine { get }
}

/// Which object: one for each application and resource.
struct LedgerKey: Hashable, CustomStringConvertible {
  /// The namespace; "default" where there is none.
  var namespace: String
  /// The application.
  var application: String
  /// "cpu" or "memory".
  var resource: String

  /// "namespace/application/resource".
  var description: String { "\(namespace)/\(application)/\(resource)" }

  /// Makes a key.
  init(namespace: String, application: String, resource: String) {
    self.namespace = namespace
    self.application = application
    self.resource = resource
  }

  /// Reads ``description``.
  init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
    guard parts.count == 3, !parts.contains("") else { return nil }
    self.init(namespace: parts[0], application: parts[1], resource: parts[2])
  }
}

/// What a watch says.
enum LedgerHint: Equatable {
  /// Any object may have changed.
  case any
  /// An object has changed; what it is now, unless it was removed.
  case changed(LedgerKey, LedgerReading?)
}

/// What came of reading.
enum LedgerReading: Equatable {
  /// The object.
  case found([UInt8], version: String)
  /// There is no such object.
  case absent
  /// No engine answered; why.
  case failed(String)
}

/// What came of replacing.
enum LedgerSwap: Equatable {
  /// It is replaced.
  case succeeded(version: String)
  /// It has another version, and is not replaced; the object as it is, where the engine says so.
  indirect case conflict(LedgerReading?)
  /// Nothing has changed; why.
  case refused(String)
  /// It may have been replaced, or may still be; why.
  case doubt(String)
}

/// The endpoints of an engine: asked in order, from the one that answered last.
struct Endpoints {
  /// Their addresses, without a slash at the end.
  let addresses: [String]
  private(set) var index: Int

  /// Begins with one that depends on the node, so that nodes ask different members.
  init(_ addresses: [String], node: String) {
    self.addresses = addresses
    var hash = FNV1a()
    hash.add(node.utf8)
    index = addresses.isEmpty ? 0 : Int(hash.value % UInt64(addresses.count))
  }

  /// The one that is asked now.
  var current: String { addresses[index] }

  /// Goes on from one that did not answer, unless another request has done so already.
  mutating func leave(_ address: String) {
    if current == address { index = (index + 1) % addresses.count }
  }
}
