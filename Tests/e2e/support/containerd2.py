# SPDX-License-Identifier: Apache-2.0
"""A stand-in for containerd 2 where there is none: what it says of its config, and nothing else."""
import os

# What `containerd config default` of 2.0 has of its CRI plugin, and how it is written.
DEFAULT = """version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
imports = []

[grpc]
  address = '/run/containerd/containerd.sock'

[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'

    [plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'registry.k8s.io/pause:3.10'

  [plugins.'io.containerd.cri.v1.runtime']
    restrict_oom_score_adj = false

    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'
          runtime_path = ''
          pod_annotations = []
          container_annotations = []
          privileged_without_host_devices = false
          base_runtime_spec = ''
          cni_max_conf_num = 0
          snapshotter = ''
          sandboxer = 'podsandbox'
          io_type = ''

          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
            BinaryName = ''
            IoUid = 0
            ShimCgroup = ''
            SystemdCgroup = false

    [plugins.'io.containerd.cri.v1.runtime'.cni]
      bin_dir = '/opt/cni/bin'

  [plugins.'io.containerd.gc.v1.scheduler']
    pause_threshold = 0.02
"""

# It lays a file's tables over the defaults, and those of what it imports, refuses a table that is
# there twice, and writes every string as a literal one, as containerd 2 does.
PROGRAM = """#!/usr/bin/python3
import glob, os, sys, tomllib

DEFAULT = %r

def lay(below, above):
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            lay(below[key], value)
        else:
            below[key] = value

def show(table, path):
    for key, value in table.items():
        if not isinstance(value, dict):
            text = repr(value).lower() if isinstance(value, bool) else repr(value)
            print("  " * len(path) + key + " = " + text)
    for key, value in table.items():
        if isinstance(value, dict):
            inner = path + [key if key.replace("_", "").isalnum() else "'" + key + "'"]
            print("  " * len(path) + "[" + ".".join(inner) + "]")
            show(value, inner)

if sys.argv[-1] == "default":
    print(DEFAULT, end="")
else:
    known = tomllib.loads(DEFAULT)
    paths = [sys.argv[sys.argv.index("--config") + 1]]
    for path in paths:
        with open(path, "rb") as file:
            read = tomllib.load(file)
        for pattern in read.get("imports", []):
            paths += sorted(glob.glob(os.path.join(os.path.dirname(path), pattern)))
        lay(known, read)
    show(known, [])
"""


def install(directory):
    """Puts it into a directory, as `containerd`."""
    path = os.path.join(directory, "containerd")
    with open(path, "w") as file:
        file.write(PROGRAM % DEFAULT)
    os.chmod(path, 0o755)
