# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# What install puts where, and uninstall removes.
bin=${DESTDIR:-}${PREFIX:-/usr/local}/bin
man=${DESTDIR:-}${PREFIX:-/usr/local}/share/man/man8
programs=(escra-runc escra)
links=(escra-runc.reactive escra-runc.observe escra-runc.strict)
pages=(escra-runc.8 escra.8)
