# SPDX-License-Identifier: Apache-2.0
"""An image for the engines, made of busybox alone: no registry is ever asked for one."""
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
import tempfile

from world import make_rootfs

# Podman puts localhost/ before it and containerd its default registry; both find it by this name
# or say under which one they loaded it.
NAME = "escra-e2e/busybox:latest"
# In the image, readable and not executable.
UNEXECUTABLE = "/etc/passwd"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def busybox_archive(directory):
    """Writes the image as `docker save` would, which all engines read; returns its path."""
    layer = _layer()
    config = json.dumps({
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "created": "2000-01-01T00:00:00Z",
        "config": {
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "2000-01-01T00:00:00Z", "created_by": "escra-runc's tests"}],
    }).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    path = os.path.join(directory, "busybox.tar")
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer)
        _add(archive, name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def _layer():
    """The bytes of the only layer, the same ones each time: the image's id is their hash."""
    with tempfile.TemporaryDirectory(prefix="escra-e2e-image-") as rootfs:
        make_rootfs(rootfs)
        _complete(rootfs)
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            for name in sorted(os.listdir(rootfs)):
                archive.add(os.path.join(rootfs, name), name, filter=_anonymous)
        return layer.getvalue()


def _complete(rootfs):
    """What a bundle of ours does without and an image does not: all applets, users, a /tmp."""
    busybox = os.path.join(rootfs, "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if not os.path.lexists(os.path.join(rootfs, "bin", applet)):
            os.symlink("busybox", os.path.join(rootfs, "bin", applet))
    os.makedirs(os.path.join(rootfs, "etc"))
    for name, line in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")):
        with open(os.path.join(rootfs, "etc", name), "w") as file:
            file.write(line)
        os.chmod(file.name, 0o644)
    os.chmod(os.path.join(rootfs, "tmp"), 0o1777)


def _anonymous(member):
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
