// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import escra_runc

@Suite final class CheckpointImageTests {
  private let directory: String
  private let mib: Int64 = 1 << 20

  init() {
    var template = Array("/tmp/escra-image-XXXXXX".utf8CString)
    directory = String(cString: mkdtemp(&template))
    mkdir(directory + "/image", 0o700)
  }

  deinit { system("rm -rf \(directory)") }

  private func make(_ name: String, size: Int64, ending: [UInt8] = []) {
    let file = fopen("\(directory)/\(name)", "w")
    ftruncate(fileno(file), Int(size) - ending.count)
    fseek(file, 0, SEEK_END)
    fwrite(ending, 1, ending.count, file)
    fclose(file)
  }

  private var image: CheckpointImage? { CheckpointImage(directory + "/image") }

  @Test func `adds up the pages of all processes, and one's alone are needed in any case`() {
    make("image/pages-1.img", size: 300 * mib)
    make("image/pages-2.img", size: 100 * mib)
    make("image/pagemap-1.img", size: 700 * mib)
    #expect(image?.most == 400 * mib)
    #expect(image?.least == 300 * mib)
    #expect(image?.limit == 450 * mib)
  }

  @Test func `counts what is in the archive of a tmpfs, not its size`() {
    make("image/tmpfs-dev-57.tar.gz.img", size: 5000, ending: [0, 0, 0x40, 1])
    make("image/tmpfs-dev-58.tar.gz.img", size: 3, ending: [1, 2, 3])
    #expect(image?.least == 20 * mib)
  }

  @Test func `counts the pages that an earlier pre-dump has written, and in a circle once`() {
    mkdir(directory + "/first", 0o700)
    symlink("../first", directory + "/image/parent")
    symlink("../image", directory + "/first/parent")
    make("image/pages-1.img", size: 10 * mib)
    make("first/pages-1.img", size: 300 * mib)
    #expect(image?.most == 310 * mib)
    #expect(image?.least == 300 * mib)
  }

  @Test func `waits for nothing, and ignores what is no regular file`() {
    mkfifo(directory + "/image/pages-1.img", 0o600)
    mkfifo(directory + "/image/tmpfs-dev-1.tar.gz.img", 0o600)
    mkdir(directory + "/image/pages-2.img", 0o700)
    symlink("pages-3.img", directory + "/image/pages-3.img")
    symlink("/dev/zero", directory + "/image/pages-4.img")
    symlink("/dev/null", directory + "/image/parent")
    #expect(image?.most == 0)
    make("elsewhere", size: 7 * mib)
    symlink("../elsewhere", directory + "/image/pages-5.img")
    #expect(image?.most == 7 * mib)
  }

  @Test func `a size that nobody has is one that fits nowhere`() {
    for number in 1...3 { make("image/pages-\(number).img", size: 1 << 43) }
    #expect(image?.most == 3 << 43)
    #expect(CheckpointImage(directory + "/none") == nil)
    #expect(CheckpointImage(directory + "/image/pages-1.img") == nil)
  }
}
