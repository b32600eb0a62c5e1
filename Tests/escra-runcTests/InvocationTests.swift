// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra_runc

/// A command line in words; `_` stands for an empty argument.
private func read(_ line: String) -> Invocation {
  Invocation(
    ["runc"] + line.split(separator: " ").map { $0 == "_" ? "" : String($0) })
}

@Suite struct InvocationTests {
  @Test(arguments: [
    "create", "--debug create", "-debug create", "--debug=true create",
    "--root /r create", "--root=/r create", "-root /r create", "-root=/r create",
    "--root create create", "--log create --log-format create create",
    "--criu /c --rootless auto --cgroup-manager disabled --log-level debug create",
    "--unknown create", "--unknown=state create", "-u=state create",
    "--systemd-cgroup create", "--root /r -- create", "--root -- create", "--root --log create",
    "--log= create", "--root _ create",
    "create --bundle state", "create state", "create --help", "create -- state",
    "--escra-policy strict create", "--escra-config=/etc/x create",
  ])
  func `create is the verb`(line: String) {
    let invocation = read(line)
    #expect(invocation.verb == .create)
    let words = line.split(separator: " ")
    #expect(invocation.verbIndex.map { words[$0 - 1] } == "create")
  }

  @Test(
    arguments: [
      ("", nil), ("--debug", nil), ("--root", nil), ("--root /r", nil), ("--", nil),
      ("frob create", "frob"), ("- create", "-"), ("_ create", ""), ("Create", "Create"),
      ("/create", "/create"),
    ] as [(String, String?)])
  func `what is no verb of ours is none`(line: String, word: String?) {
    let invocation = read(line)
    let arguments = ["runc"] + line.split(separator: " ").map { $0 == "_" ? "" : String($0) }
    #expect(invocation.verb == nil)
    #expect(invocation.verbIndex.map { arguments[$0] } == word)
    #expect(invocation.id == nil)
  }

  @Test(arguments: Verb.allCases)
  func `every verb is known by its name`(verb: Verb) {
    #expect(read("--root /r \(verb.rawValue) x").verb == verb)
    #expect(read("--root /r \(verb.rawValue) x").id?.text == (verb.namesContainer ? "x" : nil))
  }

  @Test(arguments: [
    "--bundle /b c", "--bundle=/b c", "-bundle /b c", "-bundle=/b c", "-b /b c", "-b=/b c",
    "--b /b c", "--b=/b c", "--bundle /a --bundle /b c", "--bundle /a -b /b c",
    "--no-pivot --bundle /b c", "--no-pivot=false -b /b c", "--preserve-fds 3 --bundle=/b c",
    "--unknown --bundle /b c", "--unknown=x --bundle /b c", "--bundle /b -- c",
    "c --bundle /b", "c --bundle=/b", "--no-pivot c --bundle /b", "-no-subreaper --bundle /b c",
    "--console-socket --bundle --bundle /b c", "--pid-file create --bundle /b c",
    "--pidfd-socket s --bundle /b c",
  ])
  func `the bundle and the id are found in every spelling`(line: String) {
    for verb in ["create", "run"] {
      let invocation = read("\(verb) \(line)")
      #expect(invocation.bundle?.text == "/b")
      #expect(invocation.id?.text == "c")
    }
  }

  @Test(
    arguments: [
      ("create --bundle create create", "create", "create"),
      ("create --bundle -- c", "--", "c"), ("create --bundle -x c", "-x", "c"),
      ("create --bundle= c", "", "c"), ("create --bundle=a=b c", "a=b", "c"),
      ("create --bundle _ c", "", "c"), ("create -- --bundle=/b", nil, "--bundle=/b"),
      ("create c", nil, "c"), ("create --bundle", nil, nil), ("create", nil, nil),
      ("create /b c --bundle", "/b", "c"), ("create /b c -b", "/b", "c"),
      ("restore --image-path /i --work-path /w -no-subreaper --bundle /b --detach c", "/b", "c"),
      ("restore -d --lsm-profile p --empty-ns n --manage-cgroups-mode m -b /b c", "/b", "c"),
      ("run -d -b /b c", "/b", "c"), ("run --detach=false --keep -b=/b c", "/b", "c"),
      ("run -f crun.json -b /b c", "/b", "c"), ("spec -b /b", "/b", nil),
    ] as [(String, String?, String?)])
  func `a value is what follows, whatever it looks like`(
    line: String, bundle: String?, id: String?
  ) {
    #expect(read(line).bundle?.text == bundle)
    #expect(read(line).id?.text == id)
  }

  @Test(arguments: [
    ("-", "--resources - c"), ("-", "--resources=- c"), ("-", "-r - c"), ("-", "-r=- c"),
    ("-", "-resources - c"), ("", "--resources= c"), ("/f", "c --resources /f"),
    ("-", "--cpu-quota 5 --resources - c"), ("-", "--resources - --cpu-quota 5 c"),
    ("/f", "--resources - -r /f c"),
  ])
  func `the file of an update is found in every spelling`(text: String, line: String) {
    let invocation = read("update \(line)")
    #expect(invocation.resources?.text == text)
    #expect(invocation.id?.text == "c")
  }

  @Test(arguments: [
    "blkio-weight", "cpu-period", "cpu-quota", "cpu-share", "cpu-rt-period", "cpu-rt-runtime",
    "cpuset-cpus", "cpuset-mems", "kernel-memory", "kernel-memory-tcp", "memory",
    "memory-reservation", "memory-swap", "pids-limit", "l3-cache-schema", "mem-bw-schema",
    "cpu-burst", "cpu-idle",
  ])
  func `a single limit of an update is read in every spelling`(name: String) {
    for flag in ["--\(name) -1", "--\(name)=-1", "-\(name) -1", "--\(name) 5 --\(name)=-1"] {
      for line in ["update \(flag) c", "update c \(flag)"] {
        #expect(read(line).flags[name]?.text == "-1")
        #expect(read(line).id?.text == "c")
      }
    }
  }

  @Test(arguments: [
    ("checkpoint --image-path i --work-path w --parent-path p --status-fd 3 --page-server a:1 c"),
    ("checkpoint --leave-running --tcp-established --ext-unix-sk --shell-job --lazy-pages c"),
    ("checkpoint --file-locks --pre-dump --auto-dedup --manage-cgroups-mode m --empty-ns n c"),
    ("checkpoint --tcp-skip-in-flight --link-remap c"),
    ("restore --tcp-established --ext-unix-sk --shell-job --file-locks --auto-dedup c"),
    ("restore --lazy-pages --no-pivot --lsm-mount-context m --console-socket s --pid-file p c"),
    ("create --no-pivot --no-new-keyring --preserve-fds 2 --console-socket s --pid-file p c"),
    ("run --keep --no-subreaper --no-new-keyring --detach -d c"),
    ("exec --console-socket s --cwd d --env A=b -e C=d --tty -t --user 0 -u 0 c sh -c x"),
    ("exec --additional-gids 1 -g 2 --process p -p p --detach -d --pid-file f c sh"),
    ("exec --process-label l --apparmor a --no-new-privs --cap C -c C --preserve-fds 1 c sh"),
    ("exec --cgroup g --ignore-paused --pidfd-socket s c --tty"),
    ("exec c create --bundle x"),
    ("delete c"), ("delete --force c"), ("delete -f c"), ("delete c --force"), ("delete c -f"),
    ("kill c"), ("kill --all c 9"), ("kill -a c KILL"), ("kill c 9 --all"),
    ("events --interval 5s --stats c"), ("events --stats --interval=5s c"),
    ("ps --format json c"), ("ps -f table c -ef"), ("ps c --format"),
    ("state c"), ("start c"), ("pause c"), ("resume c"), ("state -- c"), ("state --unknown c"),
  ])
  func `the id is found behind every flag of every verb`(line: String) {
    #expect(read(line).id?.text == "c")
    #expect(read("--root /r --log=/l " + line).id?.text == "c")
  }

  @Test(arguments: [
    ("delete --force c", true), ("delete -f c", true), ("delete c --force", true),
    ("delete --force=true c", true), ("delete --force=T c", true), ("delete --force=1 c", true),
    ("delete --force=false c", false), ("delete --force --force=false c", false),
    ("delete --force=maybe c", false), ("delete c", false), ("delete -- c --force", false),
  ])
  func `a flag without a value is on when the last of it says so`(line: String, on: Bool) {
    #expect(read(line).force == on)
    #expect(!read(line).systemdCgroup)
  }

  @Test(
    arguments: [
      ("run --config f c", "f"), ("create -f /x/f c", "/x/f"), ("run -f config.json c", nil),
      ("run c", nil), ("restore --config f c", nil),
    ] as [(String, String?)])
  func `crun's config is a file of its own unless it has the usual name`(
    line: String, config: String?
  ) {
    #expect(read(line).config?.text == config)
  }

  @Test func `an empty pid file is none, also as the last of two`() {
    #expect(read("create --pid-file= c").pidFile == nil)
    #expect(read("create --pid-file /p --pid-file= c").pidFile == nil)
    #expect(read("create --pid-file= --pid-file /p c").pidFile?.text == "/p")
  }

  @Test func `crun says by another flag who makes the cgroup`() {
    #expect(read("--cgroup-manager=systemd create c").systemdCgroup)
    #expect(!read("--cgroup-manager cgroupfs create c").systemdCgroup)
    #expect(read("--cgroup-manager disabled create c").makesNoCgroup)
    #expect(!read("create c").makesNoCgroup)
  }

  @Test func `behind the id of exec, flags are the other program's`() {
    let invocation = read("exec c ls --detach --pid-file x")
    #expect(!invocation.detach)
    #expect(invocation.pidFile == nil)
    #expect(read("exec -d --pid-file x c ls").pidFile?.text == "x")
  }

  @Test func `of a repeated global flag the last one counts`() {
    let invocation = read("--root=/a --systemd-cgroup --log /l --root /b --systemd-cgroup state c")
    #expect(invocation.root?.text == "/b")
    #expect(invocation.systemdCgroup)
    #expect(invocation.log?.text == "/l")
  }

  @Test func `a global flag behind the verb is not one`() {
    let invocation = read("create --root /r --log /l c")
    #expect(invocation.root == nil)
    #expect(invocation.log == nil)
  }

  @Test(arguments: [
    ("--root=/r/x state c", 1, 7, "/r/x"), ("-root=/r/x state c", 1, 6, "/r/x"),
    ("--root /r/x state c", 2, 0, "/r/x"), ("--debug --root= state c", 2, 7, ""),
  ])
  func `a value is known by its place in argv`(
    line: String, index: Int, offset: Int, text: String
  ) {
    #expect(read(line).root == FlagValue(index: index, offset: offset, text: text))
  }

  @Test(
    arguments: [
      ("--escra-config /c create x", [1, 2], "/c", nil),
      ("--escra-config=/c create x", [1], "/c", nil),
      ("-escra-policy=strict create x", [1], nil, "strict"),
      ("--root /r --escra-policy strict --log l create x", [3, 4], nil, "strict"),
      ("--escra-policy a --escra-config c --escra-policy=b create x", [1, 2, 3, 4, 5], "c", "b"),
      ("create --escra-policy=strict x", [], nil, nil),
      ("exec c --escra-policy=strict", [], nil, nil),
      ("--log --escra-policy create x", [], nil, nil),
      ("--escra-other=1 create x", [], nil, nil),
    ] as [(String, [Int], String?, String?)])
  func `our own flags are known before the verb, and only there`(
    line: String, own: [Int], config: String?, policy: String?
  ) {
    let invocation = read(line)
    #expect(invocation.ownArguments == own)
    #expect(invocation.ownConfig?.text == config)
    #expect(invocation.ownPolicy?.text == policy)
    #expect(invocation.ownFlagWithoutValue == nil)
    #expect(invocation.verb != nil)
  }

  @Test func `our own flag without a value is found`() {
    #expect(read("--root /r --escra-policy").ownFlagWithoutValue == "escra-policy")
  }

  @Test(arguments: [
    ("--version", false, true), ("-v", false, true), ("-version create c", false, true),
    ("--version=true", false, true), ("--version=false create c", false, false),
    ("--version=x", false, false), ("--help", true, false), ("-h create c", true, false),
    ("--help --version", true, false), ("create --help", true, false), ("state c -h", true, false),
    ("create --version c", false, false), ("exec c ls --help", false, false),
    ("help create", false, false), ("create c", false, false),
  ])
  func `help and version are asked for where runc says so`(
    line: String, help: Bool, version: Bool
  ) {
    #expect(read(line).wantsHelp == help)
    #expect(read(line).wantsVersion == version)
  }

  @Test func `an empty argv is no call at all`() {
    #expect(Invocation([]).verb == nil)
  }
}
