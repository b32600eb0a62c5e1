// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

/// The settings of every Swift target: Swift 6 mode, no implicit existential, imports that say
/// what leaks, and no warning survives.
let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

/// A release executable is static.
///
/// It starts as fast as C and needs nothing of the machine it lands on. Debug builds and tests
/// stay dynamic.
let staticExecutable: [LinkerSetting] = [
  .unsafeFlags(["-static-executable"], .when(configuration: .release))
]

/// What the FoundationEssentials in swift-argument-parser stands on.
///
/// A static link has to name it: the compiler records it only under `--static-swift-stdlib`.
let staticFoundation: [LinkerSetting] = [
  "_FoundationCollections", "_FoundationCShims", "swiftSynchronization",
].map { .linkedLibrary($0, .when(configuration: .release)) }

let package = Package(
  name: "escra-runc",
  products: [
    .executable(name: "escra-runc", targets: ["escra-runc"]),
    .executable(name: "escra", targets: ["escra"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    // What Swift cannot import, or must not do between fork and exec.
    .target(
      name: "CLinux",
      cSettings: [
        .define("_GNU_SOURCE"), .unsafeFlags(["-Wall", "-Wextra", "-Werror"]),
      ]),
    .systemLibrary(
      name: "CJansson", pkgConfig: "jansson", providers: [.apt(["libjansson-dev"])]),
    .systemLibrary(
      name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(
      name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),

    // The programs in the scheduler, and the calls to them. What bpf/ holds is for another machine:
    // `make bpf` compiles it into the skeleton.
    .target(
      name: "CBPF", exclude: ["bpf"],
      cSettings: [
        .define("_GNU_SOURCE"), .unsafeFlags(["-Wall", "-Wextra", "-Werror"]),
      ],
      linkerSettings: [.linkedLibrary("bpf"), .linkedLibrary("elf"), .linkedLibrary("z")]),

    // The one choke point for system calls.
    .target(name: "Syscalls", dependencies: ["CLinux"], swiftSettings: strict),

    // config.json, annotations, quantities, bundles: what was asked for.
    .target(name: "OCISpec", dependencies: ["CJansson", "Syscalls"], swiftSettings: strict),

    // Where the kernel calls us: use, wake-ups, exit, drift.
    .target(name: "Hooks", dependencies: ["CBPF", "CLinux", "Syscalls"], swiftSettings: strict),

    // cgroups, control laws, the record, supervisor and keeper.
    .target(
      name: "LiveLimits", dependencies: ["Hooks", "OCISpec", "CLinux", "CSeccomp", "Syscalls"],
      swiftSettings: strict),

    // The runtime: argument grammar, one file a verb, then execve.
    .executableTarget(
      name: "escra-runc", dependencies: ["LiveLimits", "OCISpec", "CLinux", "Syscalls"],
      swiftSettings: strict, linkerSettings: staticExecutable),

    // The operator's tool.
    .executableTarget(
      name: "escra",
      dependencies: [
        "LiveLimits", "OCISpec", "CLinux", "CSQLite", "Syscalls",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict, linkerSettings: staticExecutable + staticFoundation),

    // Members and brokers of applications that do not exist, in virtual time: `make simulate`.
    .executableTarget(
      name: "simulate", dependencies: ["LiveLimits", "Syscalls"], path: "Tests/Simulate",
      swiftSettings: strict),

    // Nodes that share a limit through an engine that does not exist: `make simulate-nodes`.
    .executableTarget(
      name: "simulate-nodes", dependencies: ["LiveLimits", "Syscalls"],
      path: "Tests/SimulateNodes", swiftSettings: strict),

    // Quotas written as often as the books allow, to a real kernel: Tests/e2e/test_books.py.
    .executableTarget(
      name: "hammer", dependencies: ["Hooks", "LiveLimits", "Syscalls"], path: "Tests/Hammer",
      swiftSettings: strict, linkerSettings: staticExecutable),

    // Slack of a real group given back while somebody grows: Tests/e2e/test_shrink_race.py.
    .executableTarget(
      name: "shrink-race", dependencies: ["CLinux", "Hooks", "LiveLimits", "Syscalls"],
      path: "Tests/ShrinkRace", swiftSettings: strict, linkerSettings: staticExecutable),

    .testTarget(name: "SyscallsTests", dependencies: ["Syscalls"], swiftSettings: strict),
    .testTarget(
      name: "OCISpecTests", dependencies: ["OCISpec", "Syscalls"], swiftSettings: strict),
    .testTarget(
      name: "HooksTests", dependencies: ["Hooks", "CLinux", "Syscalls"], swiftSettings: strict),
    .testTarget(
      name: "LiveLimitsTests", dependencies: ["Hooks", "LiveLimits", "Syscalls", "simulate", "simulate-nodes"],
      swiftSettings: strict),
    .testTarget(
      name: "escra-runcTests", dependencies: ["escra-runc", "Syscalls"],
      swiftSettings: strict),
    .testTarget(
      name: "escraTests", dependencies: ["escra", "Hooks", "LiveLimits", "Syscalls"],
      swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
