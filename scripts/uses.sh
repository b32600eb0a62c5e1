# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# Where engines keep the path of a container's runtime: in the shim's or conmon's memory while it
# runs, in databases and in configs else. Part of scripts/pass-through, which sets $names and $bin.

# Prints which of our names a path leads to, if any, as a process with the root $2 sees it.
name_of() {
  path=$1 hops=8
  case $path in *escra-runc*) ;; *) [ -L "$2$path" ] || return ;; esac
  while [ "$hops" -gt 0 ]; do
    case " $names " in
    *" ${path##*/} "*)
      # shellcheck disable=SC3013 # dash and busybox have it, and POSIX since 2024
      if [ "$2${path%/*}/" -ef "$bin" ]; then echo "${path##*/}" && return; fi
      ;;
    esac
    # An operator's link to one of ours.
    target=$(readlink "$2$path") || return
    case $target in /*) path=$target ;; *) path=${path%/*}/$target ;; esac
    hops=$((hops - 1))
  done
}

# Prints a use for each of our names among the paths in a text: report REASON [ROOT] <TEXT.
report() {
  grep -aoE "/[^][\"', =:;]+" | sort -u | while read -r path; do
    name=$(name_of "$path" "${2-}")
    [ -z "$name" ] || printf '%s\t%s\n' "$name" "$1"
  done
}

# A config without what is commented out: report_config FILE [ROOT].
report_config() { sed '/^[ \t]*[#;]/d' "${2-}$1" | report "$1" "${2-}"; }

# The value of the flag $1 in a command line with a word a line.
value_of() {
  awk -v flag="$1" 'found { print; exit } $0 == flag { found = 1 }
    index($0, flag "=") == 1 { print substr($0, length(flag) + 2); exit }'
}

# What runs calls the runtime by the path that its container began with.
process_uses() {
  for process in /proc/[0-9]*; do
    root=$process/root
    read -r command <"$process/comm" || continue
    case $command in
    conmon | conmonrs | containerd-shim | containerd | dockerd | crio | podman | buildkitd) ;;
    *) continue ;;
    esac
    words=$(tr '\0' '\n' <"$process/cmdline")
    value() { printf '%s\n' "$words" | value_of "$1"; }
    case $command in
    conmon) reason="the container $(value -c) of conmon, process ${process#/proc/}" ;;
    *) reason="$command, process ${process#/proc/}" ;;
    esac
    printf '%s\n' "$words" | report "$reason" "$root"
    case $command in
    conmon) ;;
    containerd-shim) shim_uses ;;
    *)
      for flag in --config-file --config -config -c; do
        file=$(value $flag)
        case $file in /*) report_config "$file" "$root" ;; esac
      done
      ;;
    esac
  done
}

# The containers of a shim, of which a pod has one: each has a directory beside the others.
shim_uses() {
  for bundle in "$process"/cwd/../*/; do
    # For a runtime with arguments Docker writes a script, which is named here instead.
    script=$root$(head -n 1 "$bundle/runtime")
    {
      cat "$bundle/options.json" "$bundle/runtime"
      case $(head -c 2 "$script" | tr -d '\0') in '#!') head -c 4096 "$script" ;; esac
    } | report "the container $(basename "$bundle") of containerd, namespace $(value -namespace)" \
      "$root"
  done
}

homes() { awk -F : '$6 ~ "^/." && !seen[$6]++ { print $6 }' /etc/passwd; }

# Files in which engines are told their runtimes, but for editors' and dpkg's copies of them.
config_files() {
  for directory in /etc/docker /etc/containerd /etc/containers /etc/crio /etc/nerdctl \
    /etc/buildkit /etc/cri-dockerd /etc/default /etc/rancher /etc/systemd /usr/share/containers \
    /usr/local/share/containers /var/lib/rancher/k3s/agent/etc /var/snap/docker/current/config; do
    echo "$directory"
  done
  homes | while read -r home; do
    for name in containers docker containerd nerdctl systemd; do echo "$home/.config/$name"; done
  done
}

config_uses() {
  config_files | while read -r directory; do
    [ ! -d "$directory" ] || find -L "$directory" -maxdepth 5 -type f -size -2000k
  done | grep -vE '(~|\.(bak|orig|old|save|rej|dpkg-[a-z]+|rpmsave|rpmnew|ucf-[a-z]+))$' |
    while read -r file; do
      if grep -qaE 'runc|runtime' "$file"; then report_config "$file"; fi
    done
}

# Podman keeps a name, for which its configs have the path, or the path it was called with. A page
# of a database holds what was deleted until it is used again, so Podman is asked if it answers.
podman_uses() {
  { echo /var/lib/containers && homes | sed 's,$,/.local/share/containers,'; } |
    while read -r directory; do
      for file in "$directory"/storage/libpod/bolt_state.db "$directory"/storage/db.sql; do
        [ -f "$file" ] || continue
        reason="a container of Podman in $directory"
        if [ "$directory" = /var/lib/containers ] && ids=$(timeout 20 podman ps --all --quiet); then
          for id in $ids; do
            podman inspect --type container --format '{{.OCIRuntime}}' "$id" |
              report "the container $id of Podman"
          done
        else
          grep -aoE '"runtime":"/[^"]+"' "$file" | report "$reason"
        fi
      done
    done
}

# So does containerd, for containers that do not run.
containerd_uses() {
  file=/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db
  [ -f "$file" ] || return
  if ! namespaces=$(timeout 20 ctr namespaces list --quiet); then
    # The bytes before and behind a path there may be anything: a length may look like a letter.
    grep -aoE '(/[A-Za-z0-9._+@-]+)+/escra-runc(\.(reactive|observe|strict))?' "$file" |
      awk '{ for (i = 1; i < length; i++) if (substr($0, i, 1) == "/") print substr($0, i) }' |
      report "a container of containerd in $file"
    return
  fi
  for namespace in $namespaces; do
    for id in $(ctr --namespace "$namespace" containers list --quiet); do
      ctr --namespace "$namespace" containers info "$id" |
        sed -n '/"Runtime"/,/}/s/.*"value": "\(.*\)".*/\1/p' | base64 -d | tr -c '[:print:]' '\n' |
        report "the container $id of containerd, namespace $namespace"
    done
  done
}

# Each use once: a name of ours, a tab, and the reason.
uses() {
  {
    process_uses
    config_uses
    podman_uses
    containerd_uses
  } 2>/dev/null | sort -u
}
