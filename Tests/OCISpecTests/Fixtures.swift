// SPDX-License-Identifier: Apache-2.0
import Glibc

@testable import OCISpec
@testable import Syscalls

/// What `runc spec` writes (runc 1.1.5).
let runcSpec = """
  {
    "ociVersion": "1.0.2-dev",
    "process": {
      "terminal": true,
      "user": {
        "uid": 0,
        "gid": 0
      },
      "args": [
        "sh"
      ],
      "env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=xterm"
      ],
      "cwd": "/",
      "capabilities": {
        "bounding": [
          "CAP_AUDIT_WRITE",
          "CAP_KILL",
          "CAP_NET_BIND_SERVICE"
        ],
        "effective": [
          "CAP_AUDIT_WRITE",
          "CAP_KILL",
          "CAP_NET_BIND_SERVICE"
        ],
        "permitted": [
          "CAP_AUDIT_WRITE",
          "CAP_KILL",
          "CAP_NET_BIND_SERVICE"
        ],
        "ambient": [
          "CAP_AUDIT_WRITE",
          "CAP_KILL",
          "CAP_NET_BIND_SERVICE"
        ]
      },
      "rlimits": [
        {
          "type": "RLIMIT_NOFILE",
          "hard": 1024,
          "soft": 1024
        }
      ],
      "noNewPrivileges": true
    },
    "root": {
      "path": "rootfs",
      "readonly": true
    },
    "hostname": "runc",
    "mounts": [
      {
        "destination": "/proc",
        "type": "proc",
        "source": "proc"
      },
      {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": [
          "nosuid",
          "strictatime",
          "mode=755",
          "size=65536k"
        ]
      },
      {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": [
          "nosuid",
          "noexec",
          "newinstance",
          "ptmxmode=0666",
          "mode=0620",
          "gid=5"
        ]
      },
      {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": [
          "nosuid",
          "noexec",
          "nodev",
          "mode=1777",
          "size=65536k"
        ]
      },
      {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": [
          "nosuid",
          "noexec",
          "nodev"
        ]
      },
      {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": [
          "nosuid",
          "noexec",
          "nodev",
          "ro"
        ]
      },
      {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": [
          "nosuid",
          "noexec",
          "nodev",
          "relatime",
          "ro"
        ]
      }
    ],
    "linux": {
      "resources": {
        "devices": [
          {
            "allow": false,
            "access": "rwm"
          }
        ]
      },
      "namespaces": [
        {
          "type": "pid"
        },
        {
          "type": "network"
        },
        {
          "type": "ipc"
        },
        {
          "type": "uts"
        },
        {
          "type": "mount"
        }
      ],
      "maskedPaths": [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi"
      ],
      "readonlyPaths": [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger"
      ]
    }
  }

  """

/// A directory for one test, gone with it.
struct Scratch: ~Copyable {
  let path: String

  init(_ name: String = "escra spec ") throws {
    var template = Array("/tmp/\(name)XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError.last("make", "a directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY) else { return }
    for name in (try? directory.entries()) ?? [] {
      if unlinkat(directory.number, name, 0) != 0 {
        unlinkat(directory.number, name, AT_REMOVEDIR)
      }
    }
    rmdir(path)
  }

  func write(_ text: String, to name: String = "config.json") throws {
    let file = try FileDescriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC)
    try file.write(text)
  }

  func read(_ name: String = "config.json") throws -> String {
    let file = try FileDescriptor.open("\(path)/\(name)", O_RDONLY)
    return String(decoding: try file.readAll(), as: UTF8.self)
  }

  func entries() throws -> [String] {
    try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY).entries().sorted()
  }

  func status(_ name: String = "config.json") throws -> FileStatus? {
    try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY).status(of: name)
  }
}

func document(_ text: String) throws(ConfigError) -> ConfigDocument {
  try ConfigDocument(Array(text.utf8))
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
