# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# What install puts where, and uninstall removes.
prefix=${DESTDIR:-}${PREFIX:-/usr/local}
bin=$prefix/bin
share=$prefix/share
own=$prefix/libexec/escra-runc
units=$prefix/lib/systemd/system
programs=(escra-runc escra escra-agent)
links=(escra-runc.reactive escra-runc.observe escra-runc.strict)
pages=(escra-runc.8 escra.8 escra-agent.8 escra-config.5 escra-annotations.7)
# Of uninstall and of what it leaves where it must.
scripts=(installed.sh pass-through uninstall uses.sh)
# By what they complete for.
declare -A completions=(
  [bash]=$share/bash-completion/completions/escra
  [zsh]=$share/zsh/site-functions/_escra
  [fish]=$share/fish/vendor_completions.d/escra.fish
)
documents=(CHANGELOG.md LICENSE NOTICE)
monitoring=(alerts.yml dashboard.json)
