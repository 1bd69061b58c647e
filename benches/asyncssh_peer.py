"""The peer that a Python programmer would write: asyncssh, one connection for each host, commands one after another."""

import asyncio
import sys

import asyncssh


async def host(address, port, key, known_hosts, commands):
    async with asyncssh.connect(address, port=port, client_keys=[key], known_hosts=known_hosts, config=None) as link:
        for command in commands:
            await link.run(command, check=True)


async def main():
    hosts, port, key, known_hosts, *commands = sys.argv[1:]
    with open(hosts) as lines:
        addresses = lines.read().split()
    await asyncio.gather(*(host(address, int(port), key, known_hosts, commands) for address in addresses))


asyncio.run(main())
