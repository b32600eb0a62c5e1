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

/// A release of escra-runc begins with Sources/CEntry, where that knows the processor.
#if arch(x86_64) || arch(arm64)
  let earlyEntry: [LinkerSetting] = [
    .unsafeFlags(["-Xlinker", "-e", "-Xlinker", "escra_entry"], .when(configuration: .release))
  ]
#else
  let earlyEntry: [LinkerSetting] = []
#endif

/// A release of the agent has Swift's own libraries in it, and takes C's from the distribution.
///
/// libcurl and its TLS get their security updates there.
let staticSwift: [LinkerSetting] = [
  .unsafeFlags(
    ["-static-stdlib", "-Xclang-linker", "-static-libgcc"], .when(configuration: .release))
]

/// What the FoundationEssentials in swift-argument-parser stands on.
///
/// A static link has to name it: the compiler records it only under `--static-swift-stdlib`.
let staticFoundation: [LinkerSetting] = [
  "_FoundationCollections", "_FoundationCShims", "swiftSynchronization",
].map { .linkedLibrary($0, .when(configuration: .release)) }

/// The layers below the state's files: CONTRIBUTING.md draws them.
let lower: [Target.Dependency] = [
  "Application", "Cgroups", "Control", "CPUSets", "Hooks", "OCISpec", "Quantities", "Syscalls",
]

/// All layers, for the programs and their tests.
let layers: [Target.Dependency] = lower + ["LiveLimits", "State"]

/// What tests share.
let support: [Target.Dependency] = ["TestFiles", "TestValues"]

let package = Package(
  name: "escra-runc",
  products: [
    .executable(name: "escra-runc", targets: ["escra-runc"]),
    .executable(name: "escra", targets: ["escra"]),
    .executable(name: "escra-agent", targets: ["escra-agent"]),
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
      name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
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

    // Values with units: CPU time, bytes, CPU sets. Pure.
    .target(name: "Quantities", swiftSettings: strict),

    // The laws of CPU and memory limits, budgets, run records. Pure.
    .target(name: "Control", dependencies: ["Quantities"], swiftSettings: strict),

    // Broker and members of an application. Pure.
    .target(name: "Application", dependencies: ["Quantities"], swiftSettings: strict),

    // The share that a node has of an application, and the ledger of all nodes. Pure.
    .target(name: "Nodes", dependencies: ["Application", "Quantities"], swiftSettings: strict),

    // The allocator of exclusive CPUs, and the plans of cpusets. Pure.
    .target(name: "CPUSets", dependencies: ["Quantities"], swiftSettings: strict),

    // The one choke point for system calls.
    .target(name: "Syscalls", dependencies: ["CLinux", "Quantities"], swiftSettings: strict),

    // config.json, annotations, quantities, bundles: what was asked for.
    .target(
      name: "OCISpec", dependencies: ["CJansson", "Quantities", "Syscalls"], swiftSettings: strict),

    // Every kernel file of a cgroup, and systemd's units for them.
    .target(
      name: "Cgroups", dependencies: ["CLinux", "CPUSets", "OCISpec", "Quantities", "Syscalls"],
      swiftSettings: strict),

    // Where the kernel calls us: use, wake-ups, exit.
    .target(
      name: "Hooks", dependencies: ["CBPF", "CLinux", "Control", "Quantities", "Syscalls"],
      swiftSettings: strict),

    // Every file under /run/escra and in the history's directory, and the sockets there.
    .target(
      name: "State",
      dependencies: [
        "Application", "Cgroups", "Control", "CPUSets", "CLinux", "OCISpec", "Quantities",
        "Syscalls",
      ], swiftSettings: strict),

    // Supervisor and keeper.
    .target(
      name: "LiveLimits", dependencies: lower + ["CLinux", "CSeccomp", "State"],
      swiftSettings: strict),

    // Where escra-runc starts, before libc: a call that is the low-level runtime's alone.
    .target(
      name: "CEntry",
      cSettings: [
        .unsafeFlags([
          "-Wall", "-Wextra", "-Werror", "-O2", "-ffreestanding", "-fno-builtin",
          "-fno-stack-protector",
        ])
      ]),

    // The runtime: argument grammar, one file a verb, then execve.
    .executableTarget(
      name: "escra-runc", dependencies: layers + ["CEntry", "CLinux"], swiftSettings: strict,
      linkerSettings: staticExecutable + earlyEntry),

    // The operator's tool.
    .executableTarget(
      name: "escra",
      dependencies: layers + [
        "CLinux", "CSQLite",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict, linkerSettings: staticExecutable + staticFoundation),

    // The optional node agent: shares of applications that span nodes, through an engine.
    .executableTarget(
      name: "escra-agent",
      dependencies: [
        "Application", "Nodes", "OCISpec", "Quantities", "State", "Syscalls", "CCurl", "CLinux",
      ],
      swiftSettings: strict, linkerSettings: staticSwift),

    // Programs of the tests: `make tools`, not `make build`. They need what the layers show to each
    // other, so they cannot be a package of their own.

    // What the simulations share.
    .target(name: "VirtualTime", path: "Tools/VirtualTime", swiftSettings: strict),

    // Members and brokers of applications that do not exist, in virtual time: `make simulate`.
    .executableTarget(
      name: "simulate", dependencies: ["Application", "Control", "Quantities", "VirtualTime"],
      path: "Tools/Simulate", swiftSettings: strict),

    // Nodes that share a limit through an engine that does not exist: `make simulate-nodes`.
    .executableTarget(
      name: "simulate-nodes", dependencies: ["Application", "Nodes", "Quantities", "VirtualTime"],
      path: "Tools/SimulateNodes", swiftSettings: strict),

    // Quotas written as often as the books allow, to a real kernel: Tests/e2e/cases/test_books.py.
    .executableTarget(
      name: "hammer", dependencies: layers, path: "Tools/Hammer",
      swiftSettings: strict, linkerSettings: staticExecutable),

    // Slack of a real group given back while somebody grows: Tests/e2e/cases/test_shrink_race.py.
    .executableTarget(
      name: "shrink-race", dependencies: layers + ["CLinux"],
      path: "Tools/ShrinkRace", swiftSettings: strict, linkerSettings: staticExecutable),

    // What the tests share: random values that are the same in each run, and files.
    .target(
      name: "TestValues", dependencies: ["Quantities"], path: "Tests/Support/Values",
      swiftSettings: strict),
    .target(
      name: "TestFiles", dependencies: ["Quantities", "Syscalls"], path: "Tests/Support/Files",
      swiftSettings: strict),

    .testTarget(
      name: "QuantitiesTests", dependencies: ["Quantities", "TestValues"],
      swiftSettings: strict),
    .testTarget(
      name: "ControlTests", dependencies: ["Control", "Quantities", "TestValues"],
      swiftSettings: strict),
    .testTarget(
      name: "ApplicationTests",
      dependencies: ["Application", "Quantities", "TestValues", "simulate"],
      swiftSettings: strict),
    .testTarget(
      name: "NodesTests",
      dependencies: ["Application", "Nodes", "Quantities", "TestValues", "simulate-nodes"],
      swiftSettings: strict),
    .testTarget(
      name: "CPUSetsTests", dependencies: ["CPUSets", "Quantities", "TestValues"],
      swiftSettings: strict),
    .testTarget(
      name: "SyscallsTests", dependencies: ["CLinux", "Quantities", "Syscalls"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "OCISpecTests", dependencies: ["OCISpec", "Quantities", "Syscalls"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "CgroupsTests",
      dependencies: ["Cgroups", "OCISpec", "Quantities", "Syscalls"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "HooksTests",
      dependencies: ["CLinux", "Control", "Hooks", "Quantities", "Syscalls"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "StateTests", dependencies: lower + ["State"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "LiveLimitsTests", dependencies: layers + support,
      swiftSettings: strict),
    .testTarget(
      name: "escra-agentTests", dependencies: layers + ["escra-agent"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "escra-runcTests", dependencies: layers + ["CEntry", "escra-runc"] + support,
      swiftSettings: strict),
    .testTarget(
      name: "escraTests", dependencies: layers + ["escra"] + support,
      swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)
