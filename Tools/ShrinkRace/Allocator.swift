// SPDX-License-Identifier: Apache-2.0
import Glibc
internal import Quantities
import Syscalls

/// What runs in the group: it touches memory at full speed and lets it go again, three times of four
/// at the instant at which it was told that its slack is to be given back.
struct Allocator {
  private static let mebibyte: Int64 = 1 << 20
  /// The most that it uses.
  private static let most: Int64 = 48 * mebibyte
  /// What is charged beside what it touches: page tables, and what each CPU has in stock.
  private static let beside: Int64 = 4 * mebibyte

  private let pages: UnsafeMutableRawPointer
  private let buffer: UnsafeMutableRawPointer
  private let file: CInt
  private let listener = Listener()
  /// What it has not let go.
  private var kept: Int64 = 0
  /// The greatest limit since it has let go: it may have that, whatever was taken back meanwhile.
  private var limit: Int64 = 0
  /// The last one that it has heard of.
  private var last: Int64 = 0

  /// Joins a group, for good.
  ///
  /// - Parameters:
  ///   - group: Its directory.
  ///   - path: A file to read now and then, so that there is page cache; nil for none.
  /// - Throws: ``SystemError``; ENOENT where there is no such group, or file.
  init(in group: String, reading path: String?) throws(SystemError) {
    try FileDescriptor.open(group + "/cgroup.procs", O_WRONLY).write("0")
    // Whoever has started us may be spared by the kernel, and waits at its limit for ever.
    try FileDescriptor.open("/proc/self/oom_score_adj", O_WRONLY).write("0")
    pages = try Self.map(Self.most)
    buffer = try Self.map(Self.mebibyte)
    memset(buffer, 1, Int(Self.mebibyte))
    file = if let path { try FileDescriptor.open(path, O_RDONLY).release() } else { -1 }
  }

  private static func map(_ size: Int64) throws(SystemError) -> UnsafeMutableRawPointer {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let found = mmap(nil, Int(size), PROT_READ | PROT_WRITE, flags, -1, 0),
      found != MAP_FAILED
    else { throw SystemError.last("map", "memory") }
    return found
  }

  /// Grows and frees until nobody announces anything any more.
  mutating func run() -> Never {
    while true {
      if waitForTheMoment() {
        let room = min(Self.most, limit - Self.beside)
        if kept < room { memset(pages, 1, Int(Int64.random(in: kept...room))) }
        usleep(UInt32.random(in: 0...500))
      }
      kept = Bool.random() ? 0 : Int64.random(in: 0...Self.most / 3) & ~0xfff
      limit = last
      madvise(pages + Int(kept), Int(Self.most - kept), MADV_DONTNEED)
      if file >= 0, Int.random(in: 0..<8) == 0 { fillCache() }
    }
  }

  /// - Returns: Whether it is to grow; else it has grown, as it was ordered to.
  private mutating func waitForTheMoment() -> Bool {
    let isAimed = Int.random(in: 0..<4) > 0
    var patience = monotonicNow() + Int64.random(in: 1...(isAimed ? 40 : 15)) * 1_000_000
    var due = Announcement.none
    var isStaying = false
    while limit == 0 || monotonicNow() < patience {
      guard let heard = listener.hear(patience: 1) else { exit(0) }
      for announcement in heard {
        last = announcement.limit
        limit = max(limit, last)
        due = announcement.due
      }
      if due == Announcement.stay, !isStaying {
        isStaying = true
        patience = monotonicNow() + 200_000_000
        listener.answer()
      }
      if due == Announcement.decided {
        growAsOrdered()
        return false
      }
      if isAimed, !isStaying, limit > 0, due > monotonicNow() { break }
    }
    guard isAimed, !isStaying, due > 0 else { return true }
    let widths: [Nanoseconds] = [50_000, 1_000_000, 4_000_000]
    let width = widths.randomElement() ?? 0
    let moment = due + Nanoseconds.random(in: -width...min(width, 500_000))
    var time = timespec(tv_sec: Int(moment / 1_000_000_000), tv_nsec: Int(moment % 1_000_000_000))
    clock_nanosleep(CLOCK_MONOTONIC, CInt(TIMER_ABSTIME), &time, nil)
    return true
  }

  /// Grows between the decision and the write, and by half a head behind that, while nobody looks.
  private mutating func growAsOrdered() {
    let after = 4 * Self.mebibyte
    // Nobody would raise a limit meanwhile.
    let room = min(Self.most, last - Self.beside) - after
    let before = Int.random(in: 0..<4) == 0 ? kept : Int64.random(in: kept...max(kept, room))
    memset(pages, 1, Int(before))
    listener.answer()
    while true {
      guard let heard = listener.hear(patience: 100) else { exit(0) }
      if heard.contains(where: { $0.due == Announcement.written }) { break }
    }
    memset(pages, 1, Int(min(Self.most, before + after)))
    listener.answer()
  }

  /// What was not read again is the first thing that a lower limit has the kernel drop.
  private func fillCache() {
    posix_fadvise(file, 0, 0, CInt(POSIX_FADV_DONTNEED))
    var offset: Int64 = 0
    while offset < 24 * Self.mebibyte {
      let count = pread(file, buffer, Int(Self.mebibyte), Int(offset))
      guard count > 0 else { return }
      offset += Int64(count)
    }
  }
}
