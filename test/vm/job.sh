#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the command of a guest's job, writes its exit status and powers the guest off. Sourced with job, repo, mark
# and PATH set, by init.sh or by the unit that init.sh gives to systemd.
cd "$repo" || exit 1
echo "$mark"
# A pipe: programs that see a terminal paint on it.
(eval "$(cat /mnt/job/command)") </dev/null 2>&1 | cat
echo "${PIPESTATUS[0]}" >/mnt/job/out/status
sync
echo o >/proc/sysrq-trigger
sleep 10
