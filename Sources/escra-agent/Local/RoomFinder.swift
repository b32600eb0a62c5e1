// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import State
internal import Syscalls

/// Finds the applications of this node whose scope is the cluster, by inotify(7).
final class RoomFinder {
  /// What is found, and what becomes of it.
  enum Event {
    /// An application whose scope is the cluster.
    case found(room: String, name: String, namespace: String?)
    /// Its broker listens.
    case brokerListens(room: String)
    /// Its last member has ended.
    case gone(room: String)
  }

  private let loop: EventLoop
  private let directory: String
  private let onEvent: (Event) -> Void
  private let watch: FileWatch
  private var all: Int32 = -1
  private var rooms: [Int32: String] = [:]
  private var numbers: [String: Int32] = [:]
  private var found: Set<String> = []

  /// Begins to look.
  ///
  /// - Parameters:
  ///   - loop: Where it waits.
  ///   - root: The state of the node.
  ///   - onEvent: Gets what is found.
  /// - Throws: ``SystemError``.
  init(
    loop: EventLoop, root: StateRoot, onEvent: @escaping (Event) -> Void
  ) throws(SystemError) {
    self.loop = loop
    directory = root.applications
    self.onEvent = onEvent
    watch = try FileWatch()
    for path in [root.path, directory] where mkdir(path, 0o700) != 0 && errno != EEXIST {
      throw SystemError.last("make directory", path)
    }
    all = try watch.addDirectory(directory)
    _ = try loop.add(watch.descriptor.number) { [weak self] in self?.look() }
  }

  /// Looks for what was there before.
  func scan() {
    let names = FileDescriptor.entriesIfReadable(of: directory)
    for name in names { add(name) }
    for name in numbers.keys where !names.contains(name) { drop(name) }
  }

  private func look() {
    var hasLost = false
    watch.take { change in
      if change.directory == -1 {
        hasLost = true
      } else if change.directory == all {
        if change.isRemoval { drop(change.name) } else { add(change.name) }
      } else if let room = rooms[change.directory], !change.isRemoval {
        // Other names are those of members, of the broker's files, and of the agent's own.
        if change.name == "socket" || change.name == "name" { look(at: room) }
      }
    }
    if hasLost { scan() }
  }

  private func add(_ name: String) {
    guard numbers[name] == nil,
      // It was removed meanwhile.
      let number = try? watch.addDirectory(directory + "/" + name)
    else { return }
    rooms[number] = name
    numbers[name] = number
    look(at: name)
  }

  private func look(at name: String) {
    let path = directory + "/" + name
    if found.contains(name) { return onEvent(.brokerListens(room: path)) }
    guard let room = ApplicationDirectory.ifThere(path), let scope = room.scope else { return }
    guard room.isClusterScoped else {
      // It says so once and for all.
      forget(name)
      return
    }
    found.insert(name)
    onEvent(.found(room: path, name: scope.name, namespace: scope.namespace))
  }

  /// Watches a room no longer.
  private func forget(_ name: String) {
    guard let number = numbers.removeValue(forKey: name) else { return }
    rooms[number] = nil
    watch.remove(number)
  }

  private func drop(_ name: String) {
    forget(name)
    if found.remove(name) != nil { onEvent(.gone(room: directory + "/" + name)) }
  }
}
