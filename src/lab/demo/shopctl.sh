#!/bin/sh
# Starts and stops the shop. Started is the release that `current` points to.
cd "$(dirname "$0")" || exit 1
case "$1" in
start)
    [ -e running ] && exit 0
    readlink current > running.new && mv running.new running
    ;;
stop)
    rm -f running
    ;;
status)
    if [ -e running ]; then
        echo "running, $(cat running)"
    else
        echo stopped
        exit 3
    fi
    ;;
*)
    echo "usage: shopctl start|stop|status" >&2
    exit 64
    ;;
esac
