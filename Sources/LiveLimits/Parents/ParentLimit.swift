// SPDX-License-Identifier: Apache-2.0
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// A container's part in the limit of the group that it is in with others: its pod's, or its
/// application's.
///
/// Each change is made under the record's lock, and written down before it is made. A supervisor
/// that is killed in between has recorded more than it holds, never less, and the next process that
/// has the lock, a supervisor or the keeper, makes the limit what the record says.
final class ParentLimit {
  private let record: ParentRecord
  private let kernel: any ParentFile
  private let nonce: UInt64
  /// What is written down for this container, as far as is known; nil before the first look.
  private(set) var excess: Int64?
  /// What the maker of the group limits it to, in nanocores or bytes, as seen last; nil for no limit,
  /// and before the first look.
  private(set) var found: Int64?
  private var lastLook: Nanoseconds = .min / 2
  /// Whether something is to be done that could not be.
  private var isPending = false {
    didSet { delay = isPending ? min(2 * delay, Self.longestDelay) : Self.lookInterval }
  }
  private var delay = ParentLimit.lookInterval

  /// A write of another process is answered within this time, as long as anything is held.
  static let lookInterval: Nanoseconds = 100_000_000
  /// What cannot be done is tried ever less often, down to once a minute.
  private static let longestDelay: Nanoseconds = 60_000_000_000

  /// Takes over what ``ParentRegistry`` has opened.
  init(
    _ record: consuming ParentRecord, _ kernel: any ParentFile, nonce: UInt64
  ) {
    self.record = record
    self.kernel = kernel
    self.nonce = nonce
  }

  // MARK: what a container holds

  /// Makes room for more: before the container's own limit is raised.
  ///
  /// - Parameter amount: What it will hold above what it declares, in nanocores or bytes.
  /// - Throws: ``SystemError``: EAGAIN where it has to be tried again, ENODEV once the group is
  ///   gone; for any other reason the kernel would not have it, and it has to stay as it is.
  func raise(to amount: Int64) throws(SystemError) {
    guard amount > excess ?? -1 else { return }
    try change { account, place throws(SystemError) in
      let before = account.holds[place].excess
      account.holds[place].excess = amount
      record.save(excess: amount, at: place)
      do throws(SystemError) { try settle(&account) } catch {
        record.save(excess: before, at: place)
        throw error
      }
      excess = amount
    }
  }

  /// Gives back what is not held any more: after the container's own limit was lowered.
  func lower(to amount: Int64) {
    guard amount < excess ?? .max else { return }
    do throws(SystemError) {
      try change { account, place throws(SystemError) in
        account.holds[place].excess = amount
        record.save(excess: amount, at: place)
        excess = amount
        try settle(&account)
      }
    } catch {
      // v1 refuses while a group below has more: it is tried again.
      isPending = error.errno != ENODEV
    }
  }

  /// Makes what is written down what the container has, whichever process wrote that.
  func hold(_ amount: Int64) {
    if amount > excess ?? -1 { try? raise(to: amount) }
    lower(to: amount)
  }

  /// Looks whether another process has written, unless that was just done.
  ///
  /// - Parameters:
  ///   - now: The time.
  ///   - amount: What the container holds above what it declares.
  func look(at now: Nanoseconds, holding amount: Int64) {
    guard isPending || excess ?? 0 > 0, now - lastLook >= (retry == nil ? Self.lookInterval : delay)
    else { return }
    lastLook = now
    // Another process may have had the lock when this was lowered.
    lower(to: amount)
    review()
  }

  /// When to look again for what could not be done; nil where there is nothing of the kind.
  var retry: Nanoseconds? { isPending ? max(lastLook + delay, monotonicNow()) : nil }

  /// Makes the limit what it is to be: another process may have written, and containers come and
  /// go.
  func review() {
    isPending = (try? change { account, _ throws(SystemError) in try settle(&account) }) == nil
  }

  /// The container has ended; what was found is back with the last of them.
  func leave() {
    try? change { account, place throws(SystemError) in
      account.holds[place] = ParentAccount.Hold(nonce: 0)
      record.save(account.holds[place], at: place)
      excess = 0
      try settle(&account)
    }
  }

  /// The limit that is in force, in nanocores or bytes; nil where there is none, or no group.
  var amount: Int64? { (try? kernel.read())?.amount }

  // MARK: doing it

  private func change(
    _ body: (inout ParentAccount, _ place: Int) throws(SystemError) -> Void
  ) throws(SystemError) {
    try record.lock()
    defer { record.unlock() }
    guard var account = record.load()?.account, let place = account.place(of: nonce) else {
      throw SystemError("read", "the parent's record", errno: ESTALE)
    }
    try body(&account, place)
  }

  private func settle(_ account: inout ParentAccount) throws(SystemError) {
    defer { found = account.found.amount }
    try record.settle(&account, kernel)
  }
}

extension ParentRecord {
  /// Makes the kernel's limit what the account says; the lock is the caller's.
  ///
  /// What is about to be written is written down first: a process that is killed behind the write
  /// leaves a value that is known to be ours.
  func settle(
    _ account: inout ParentAccount, _ kernel: any ParentFile
  ) throws(SystemError) {
    let current = try kernel.read()
    if account.see(current) { save(found: account) }
    let target = account.target
    guard target != current else { return }
    // A process that was killed behind a write has not noted that, and both words are about to
    // change.
    if account.writing != account.written,
      current.value ?? ParentAccount.unlimited == account.writing
    {
      account.written = account.writing
      save(written: account.written)
    }
    let value = target.value ?? ParentAccount.unlimited
    account.writing = value
    save(writing: value)
    try kernel.write(target, over: current)
    account.written = value
    save(written: value)
  }
}
