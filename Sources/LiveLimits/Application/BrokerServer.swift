// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// What the broker of an application has of the world: its lock, its listener, its connections, and
/// the files of those who have none.
///
/// The ``Broker`` decides; this does. It goes with its owner, and all others find out by the end of
/// their connections.
final class BrokerServer {
  private let own: MemberFile
  private let lock: FileDescriptor
  private let listener: FileDescriptor
  private let isCluster: Bool
  private var shareTimer: DeadlineTimer?
  private var broker: Broker
  /// Connections by descriptor; links count up in the order in which they were let in.
  private var links: [Int32: Link] = [:]
  private var numbers: [Link: Int32] = [:]
  private var nextLink: Link = 1
  /// Members without a connection, which have to be looked at again.
  private var watched: [UInt64] = []
  private var nextLook: Nanoseconds?
  private var lookInterval = BrokerServer.shortestInterval
  private var events: [Broker.Event] = []

  /// The time between the first two looks at a member without a connection.
  ///
  /// Nothing tells that its supervisor has died by now, or its container ended. Each further one is
  /// twice as long.
  private static let shortestInterval: Nanoseconds = 10_000_000
  private static let longestInterval: Nanoseconds = 1_000_000_000

  /// Takes the seat.
  ///
  /// - Parameters:
  ///   - room: The application's.
  ///   - lock: What makes this process the broker.
  ///   - own: The member that this process is, whose file must not be opened here.
  ///   - most: What no application may have.
  ///   - poller: Where connections are listened to.
  /// - Throws: ``SystemError`` where it cannot listen.
  init(
    _ room: borrowing ApplicationDirectory, lock: consuming FileDescriptor, own: MemberFile,
    most: (cpu: Int64, memory: Int64), _ poller: borrowing Poller
  ) throws(SystemError) {
    self.own = own
    self.lock = lock
    let listener = try room.listen()
    try poller.addListener(listener.number, token: Participation.Token.listener)
    self.listener = listener
    let record = own.record
    var members = try room.registered(except: record.nonce)
    // A newcomer holds nothing, and need not wait for itself.
    if record.cpu.held > 0 || record.memory?.held ?? 0 > 0 { members.append(record) }
    let limits = room.limits()
    let now = monotonicNow()
    isCluster = room.isClusterScoped
    // The supervisor's timer stands still while the machine is suspended, and a share's end does not.
    if isCluster {
      let timer = try DeadlineTimer.ofBootTime()
      try poller.add(timer.descriptor.number, token: Participation.Token.shareEnd)
      shareTimer = consume timer
    }
    var actions: [BrokerAction] = []
    broker = Broker(
      // Locks are taken one after the other, and the clock never goes back.
      epoch: UInt64(now),
      cpu: (limits.cpu, members.compactMap { $0.registration(of: .cpu) }),
      memory: (limits.memory, members.compactMap { $0.registration(of: .memory) }), most: most,
      isCluster: isCluster, suspended: isCluster ? boottimeNow() - now : 0, at: now, &actions)
    perform(actions, room, poller)
    work(room, poller)
  }

  deinit { for number in numbers.values { close(number) } }

  /// When ``tick(_:_:)`` has something to do.
  var deadline: Nanoseconds? {
    switch (broker.deadline, nextLook) {
    case (let a?, let b?): min(a, b)
    case (let a, let b): a ?? b
    }
  }

  /// Lets in all who wait at the door; without a descriptor to spare they wait for the next call.
  func accept(_ room: borrowing ApplicationDirectory, _ poller: borrowing Poller) {
    while let socket = ApplicationSocket.accept(from: listener) {
      let number = socket.release()
      guard
        poller.addIfPossible(number, token: Participation.Token.link + UInt64(number))
      else {
        close(number)
        continue
      }
      links[number] = nextLink
      numbers[nextLink] = number
      nextLink += 1
    }
  }

  /// Hears what one of them says.
  ///
  /// - Parameters:
  ///   - number: Its descriptor.
  ///   - all: Whether to go on until it has said nothing more; the poller says so of what is left.
  ///   - room: The application's.
  ///   - poller: Where connections are listened to.
  func hear(
    _ number: Int32, all: Bool = false, _ room: borrowing ApplicationDirectory,
    _ poller: borrowing Poller
  ) {
    guard let link = links[number] else { return }
    let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
    var isOpen = true
    while isOpen {
      let received = socket.receive()
      switch received {
      case .message(var message):
        if case .join(var claim) = message.body {
          claim.group = group(of: message.nonce, message.resource, room)
          message.body = .join(claim)
        }
        events.append(.message(message, on: link))
        if all { continue }
        fallthrough
      case .nothing:
        // The conversation goes on; the descriptor stays ours.
        _ = socket.release()
        return work(room, poller)
      case .nonsense(let error):
        _ = socket.send(Self.refusal(of: error, broker.epoch))
        isOpen = false
      case .end: isOpen = false
      }
    }
    _ = consume socket
    forget(link, number)
    // There is a descriptor to spare now.
    accept(room, poller)
    work(room, poller)
  }

  /// What the member's file says of the cgroup that bounds it; it is written before the member joins.
  private func group(
    of nonce: UInt64, _ resource: SharedResource, _ room: borrowing ApplicationDirectory
  ) -> MemberGroup? {
    let record = nonce == own.record.nonce ? own.record : room.record(of: nonce)
    return record?[resource]?.group
  }

  /// Reads all messages, and accepts all connections: before others are judged to be silent.
  func attend(_ room: borrowing ApplicationDirectory, _ poller: borrowing Poller) {
    accept(room, poller)
    for number in links.keys.sorted() { hear(number, all: true, room, poller) }
  }

  /// Does what time has come for.
  func tick(_ room: borrowing ApplicationDirectory, _ poller: borrowing Poller) {
    let now = monotonicNow()
    if let moment = broker.deadline, moment <= now {
      // A broker that was stopped for a while finds answers that have waited for it: they count.
      attend(room, poller)
      events.append(.tick)
    }
    if let moment = nextLook, moment <= now { look(room) }
    work(room, poller)
  }

  /// A share has come to its end, perhaps while the machine was suspended.
  func endShare(_ room: borrowing ApplicationDirectory, _ poller: borrowing Poller) {
    shareTimer?.acknowledge()
    events.append(.tick)
    work(room, poller)
  }

  // MARK: doing

  private func work(_ room: borrowing ApplicationDirectory, _ poller: borrowing Poller) {
    while !events.isEmpty {
      let event = events.removeFirst()
      var actions: [BrokerAction] = []
      let now = monotonicNow()
      if isCluster { broker.slept(boottimeNow() - now) }
      broker.handle(event, at: now, &actions)
      perform(actions, room, poller)
    }
    // timerfd_settime(2) refuses times that no share has.
    if isCluster { try? shareTimer?.set(broker.shareEnd) }
  }

  private func perform(
    _ actions: [BrokerAction], _ room: borrowing ApplicationDirectory, _ poller: borrowing Poller
  ) {
    for action in actions {
      switch action {
      case .send(let message, let link): send(message, link)
      case .watch(let nonce):
        if !watched.contains(nonce) { watched.append(nonce) }
        // Behind what there is to do already: a message may be waiting from it.
        nextLook = min(nextLook ?? .max, monotonicNow())
        lookInterval = Self.shortestInterval
      case .fence(let nonce): if nonce != own.record.nonce { room.fence(nonce) }
      case .limits(let resource, let limits):
        room.save(
          cpu: resource == .cpu ? limits : broker.cpu.limits,
          memory: resource == .memory ? limits : broker.memory.limits)
      }
    }
  }

  private func send(_ message: ApplicationMessage, _ link: Link) {
    guard let number = numbers[link] else { return }
    let socket = ApplicationSocket(owning: FileDescriptor(owning: number))
    if socket.send(message) {
      _ = socket.release()
    } else {
      // Who does not read has to join again, with what it holds then.
      forget(link, number)
    }
  }

  /// Takes note that a connection is closed; the owner of the descriptor closes it.
  private func forget(_ link: Link, _ number: Int32) {
    links[number] = nil
    numbers[link] = nil
    events.append(.closed(link))
  }

  private static func refusal(of error: FrameError, _ epoch: UInt64) -> ApplicationMessage {
    let reason: ApplicationMessage.Refusal
    let figure: Int64
    if case .version = error {
      (reason, figure) = (.version, Int64(ApplicationMessage.version))
    } else {
      (reason, figure) = (.nonsense, 0)
    }
    return ApplicationMessage(
      resource: .cpu, epoch: epoch, nonce: 0, body: .refuse(reason, figure: figure))
  }

  // MARK: those without a connection

  /// Looks at all members without a connection.
  private func look(_ room: borrowing ApplicationDirectory) {
    nextLook = nil
    watched.removeAll { nonce in
      let standings = [broker.cpu.account(nonce)?.standing, broker.memory.account(nonce)?.standing]
        .compactMap(\.self)
      // Joined again, or forgotten; its end of the connection tells of the rest.
      return standings.allSatisfy { $0 == .joined }
    }
    for nonce in watched where nonce != own.record.nonce {
      switch room.look(at: nonce) {
      case .gone: events.append(.gone(nonce))
      case .atRest(let record):
        let isNews = SharedResource.allCases.contains { resource in
          let pool = resource == .cpu ? broker.cpu : broker.memory
          guard let account = pool.account(nonce) else { return false }
          return account.standing != .joined && account.standing != .orphan
        }
        if isNews {
          events.append(
            .orphaned(nonce, cpu: record.cpu.held, memory: record.memory?.held ?? 0))
        }
      // What cannot be looked at now is not gone.
      case .alive, nil: break
      }
    }
    guard !watched.isEmpty else { return }
    nextLook = monotonicNow() + lookInterval
    lookInterval = min(2 * lookInterval, Self.longestInterval)
  }

  /// What there is, for the one whose supervisor this is.
  func figures(of resource: SharedResource) -> (limit: Int64, charged: Int64) {
    let pool = resource == .cpu ? broker.cpu : broker.memory
    return (pool.limit, pool.charged)
  }
}
