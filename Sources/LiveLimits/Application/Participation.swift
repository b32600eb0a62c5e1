// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// A supervisor's part in its application: always a member, and at times the broker.
///
/// The machines decide (``Member``, ``Broker``); this has the connection and the file in `members/`.
/// It adds its descriptors to its owner's poller, and its owner comes back when one of them can be
/// read, or ``deadline`` has come: a second epoll or timer would be three system calls more between
/// a question and its answer. While no question is open, there is no deadline.
final class Participation {
  /// Why there is no place for the container; nil if none was refused.
  private(set) var refusal: NoPlace?
  /// Who writes the limits.
  unowned var keeper: any LimitKeeper

  private let room: ApplicationDirectory
  private let file: MemberFile
  private let most: (cpu: Int64, memory: Int64)
  private let poller: Poller
  private var machines: [Member]
  private var seat: BrokerServer?
  private var connection: Int32?
  private var link: Link = 0
  /// Since when there is no connection, and when to try for one again.
  private var seeking: (since: Nanoseconds, next: Nanoseconds)?
  private var hasLeft = false

  /// The tokens of its descriptors in its owner's poller: from the first one to the last, and from
  /// the least of connections on.
  enum Token {
    static let connection: UInt64 = 0x30
    static let listener: UInt64 = 0x31
    static let shareEnd: UInt64 = 0x32
    static let link: UInt64 = 1 << 33
  }

  /// The time between two attempts to find the broker.
  private static let seekInterval: Nanoseconds = 1_000_000
  /// The same after a broker has refused what it was told.
  private static let refusalInterval: Nanoseconds = 1_000_000_000

  /// Begins to take part; nothing is said before ``seek()``.
  ///
  /// - Parameters:
  ///   - room: The application's.
  ///   - file: The container's, registered.
  ///   - application: What annotations say of the application's limits, from a newcomer.
  ///   - isNoChange: Whether it must not change those that the application has.
  ///   - most: What no application may have.
  ///   - poller: The owner's.
  ///   - keeper: Who writes the limits.
  /// - Throws: ``SystemError``.
  init(
    _ room: consuming ApplicationDirectory, _ file: MemberFile,
    application: (cpu: Int64?, memory: Int64?) = (nil, nil), isNoChange: Bool = false,
    most: (cpu: Int64, memory: Int64), on poller: borrowing Poller,
    _ keeper: any LimitKeeper
  ) throws(SystemError) {
    self.room = room
    self.file = file
    self.most = most
    self.keeper = keeper
    self.poller = try Poller(sharing: poller)
    machines = SharedResource.allCases.compactMap { resource in
      file.record[resource].map { share in
        let limit = resource == .cpu ? application.cpu : application.memory
        return Member(
          nonce: file.record.nonce, resource: resource,
          claim: ApplicationMessage.Claim(
            held: share.held,
            wanted: min(
              max(share.held > 0 ? share.held : share.declared, share.floor), share.ceiling),
            declared: share.declared, floor: share.floor, ceiling: share.ceiling,
            priority: file.record.priority,
            application: limit, isNoChange: isNoChange && limit != nil, group: share.group))
      }
    }
  }

  deinit { if let connection { close(connection) } }

  /// When ``tick()`` has something to do; nil while no question is open.
  var deadline: Nanoseconds? {
    var next = min(seat?.deadline ?? .max, seeking?.next ?? .max)
    for machine in machines { next = min(next, machine.deadline ?? .max) }
    return next == .max ? nil : next
  }

  /// Whether the broker has taken it in.
  var isJoined: Bool { machines.allSatisfy(\.isJoined) }

  /// Whether this is the broker.
  var isBroker: Bool { seat != nil }

  /// The most that its application grants a member, as the broker has written it down last.
  var limits: (cpu: Int64, memory: Int64) {
    let limits = room.limits()
    return (limits.cpu.most, limits.memory.most)
  }

  /// What the kernel's limit is; nil for a resource that is not shared.
  func held(_ resource: SharedResource) -> Int64? { machine(resource)?.held }

  /// What the container could use, as was said last.
  func wanted(_ resource: SharedResource) -> Int64? { machine(resource)?.wanted }

  private func machine(_ resource: SharedResource) -> Member? {
    machines.first { $0.resource == resource }
  }

  // MARK: the owner's part

  /// This is what the container could use from now on: less is written at once, more when it was
  /// granted.
  ///
  /// - Parameters:
  ///   - amount: Nanocores or bytes.
  ///   - resource: Of what.
  ///   - inUse: Bytes of memory that the container cannot do without at this moment.
  func want(_ amount: Int64, of resource: SharedResource, inUse: Int64? = nil) {
    guard let index = machines.firstIndex(where: { $0.resource == resource }) else { return }
    tell(index, .want(amount, spent: inUse))
  }

  /// The kernel's limit is another one, which another process has written.
  func found(_ amount: Int64, of resource: SharedResource) {
    guard let index = machines.firstIndex(where: { $0.resource == resource }) else { return }
    file.hold(amount, of: resource)
    tell(index, .wrote(amount, spent: 0))
  }

  /// What the container declares is something else from now on: it joins again with that.
  func redeclare(_ shares: (SharedResource, MemberRecord.Share)...) {
    var record = file.record
    for (resource, share) in shares {
      guard let index = machines.firstIndex(where: { $0.resource == resource }) else { continue }
      record[resource]?.declared = share.declared
      record[resource]?.floor = share.floor
      record[resource]?.ceiling = share.ceiling
      record[resource]?.group = share.group
      machines[index].redeclare(share)
    }
    file.replace(record)
    hangUp()
    seek()
  }

  /// Looks for the broker, or becomes it.
  func seek() {
    let now = monotonicNow()
    guard connection == nil, !hasLeft else { return }
    takeSeat()
    do throws(SystemError) {
      connect(try room.connect().release())
    } catch {
      guard error.isGone || error.errno == ECONNREFUSED || error.errno == EAGAIN else {
        // No descriptor to spare, or no memory: that is no silence of the broker's.
        return seekLater()
      }
      let since = seeking?.since ?? now
      seeking = (since, now + Self.seekInterval)
      // A process that has the lock and does not listen is as silent as a broker that does not
      // answer.
      if seat == nil, now - since > Member.patience {
        room.fenceBroker(except: file.record.nonce)
        seeking?.since = now
      }
    }
  }

  /// Has no connection any more, and raises nothing until there is another participation: what is
  /// held stays held, and no process waits for an answer from here.
  func rest() {
    leaveSeat()
    hangUp()
    hasLeft = true
    file.rest(true)
  }

  /// The container has ended: gives everything back, and is gone.
  func leave() {
    for index in machines.indices { tell(index, .ended) }
    hasLeft = true
    hangUp()
    room.forget(file.record.nonce)
    leaveSeat()
    room.removeIfEmpty()
  }

  // MARK: events

  /// One of its descriptors can be read.
  ///
  /// - Parameter token: One of ``Token``.
  func handle(_ token: UInt64) {
    switch token {
    case Token.connection: hear(all: false)
    case Token.listener: seat?.accept(room, poller)
    case Token.shareEnd: seat?.endShare(room, poller)
    default: seat?.hear(Int32(token - Token.link), room, poller)
    }
  }

  /// Does what time has come for, if for anything.
  func tick() {
    let now = monotonicNow()
    // Behind the answers: one that has come while this process did not run is no silence.
    if machines.contains(where: { $0.deadline.map { $0 <= now } ?? false }) {
      seat?.attend(room, poller)
      hear(all: true)
      for index in machines.indices { tell(index, .tick) }
    }
    if let deadline = seat?.deadline, deadline <= now { seat?.tick(room, poller) }
    if let next = seeking?.next, next <= now { seek() }
  }

  // MARK: the broker's seat

  private func takeSeat() {
    guard seat == nil, let lock = room.takeLock() else { return }
    // Without a socket it leads nothing: the lock is free again, and the next look tries again.
    seat = try? BrokerServer(room, lock: lock, own: file, most: most, poller)
  }

  private func leaveSeat() { seat = nil }

  // MARK: the connection

  private func connect(_ number: Int32) {
    // Without a place in the poller it is as if the broker had closed the connection.
    guard (try? poller.add(number, token: Token.connection)) != nil else {
      close(number)
      return
    }
    connection = number
    seeking = nil
    link += 1
    // From here on more may be granted than is written down.
    file.rest(false)
    for index in machines.indices { tell(index, .connected(link)) }
  }

  /// Hears what the broker has said, also what was said before it died.
  ///
  /// - Parameter all: Whether to go on until nothing more has come; the poller says so of what is
  ///   left.
  private func hear(all: Bool) {
    while let number = connection {
      let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
      let received = socket.receive()
      // It stays ours, until it is hung up.
      _ = socket.release()
      switch received {
      case .message(let message):
        let link = link
        if message.nonce == 0, case .refuse(let reason, let figure) = message.body {
          // Not one of its members: it has not understood what was said.
          perform(.refused(reason, figure: figure), 0)
          return
        }
        for index in machines.indices { tell(index, .message(message, on: link)) }
        if !all { return }
      case .nothing: return
      case .nonsense:
        hangUp()
        seekLater()
      case .end:
        hangUp()
        seek()
        return
      }
    }
  }

  /// It will say the same again, and is no less alive for that.
  private func seekLater() {
    let later = monotonicNow() + Self.refusalInterval
    seeking = (later, later)
  }

  private func hangUp() {
    guard let number = connection else { return }
    connection = nil
    close(number)
    for index in machines.indices { tell(index, .closed(link)) }
  }

  // MARK: the machines

  private func tell(_ index: Int, _ event: Member.Event) {
    var actions: [MemberAction] = []
    machines[index].handle(event, at: monotonicNow(), &actions)
    for action in actions { perform(action, index) }
  }

  private func perform(_ action: MemberAction, _ index: Int) {
    switch action {
    case .send(let message): send(message)
    case .write(let amount): write(amount, index)
    case .fence: fence()
    case .refused(let reason, let figure):
      let machine = machines[index]
      refusal =
        reason == .minima && machine.hasAwaitedShare
        ? .noShare(machine.resource, figure: figure)
        : .refused(machine.resource, reason, figure: figure)
      hangUp()
      seekLater()
    }
  }

  private func send(_ message: ApplicationMessage) {
    guard let number = connection else { return }
    let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
    let isSent = socket.send(message)
    _ = socket.release()
    // The end of the connection reports a peer that has gone; one which does not read will not
    // answer.
    if !isSent, errno == EAGAIN { fence() }
  }

  private func write(_ amount: Int64, _ index: Int) {
    let resource = machines[index].resource
    let before = file.record[resource]?.held ?? 0
    if amount > before { file.hold(amount, of: resource) }
    let (held, spent) = keeper.keep(amount, of: resource)
    file.hold(held, of: resource)
    tell(index, .wrote(held, spent: spent))
  }

  /// Kills a broker that is silent, if this process is still connected to it; its end
  /// ends the connection.
  private func fence() {
    guard let number = connection, seat == nil else { return }
    let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
    let peer = socket.peer?.pid
    _ = socket.release()
    if let peer, peer == room.broker {
      room.fenceBroker(except: file.record.nonce)
    } else {
      hangUp()
    }
    if connection == nil { seek() }
  }
}
