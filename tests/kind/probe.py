#!/usr/bin/env python3
"""Asks an address who has it, by ARP, or how long it is silent, by HTTP.

    probe.py arp ADDRESS [--interface eth0]     prints the MAC that answers
    probe.py http ADDRESS --seconds 30          prints what was answered, as JSON

Nothing but Python's own library, so that it runs in any image that has Python.
"""

import argparse
import asyncio
import json
import socket
import struct
import sys
import time
from pathlib import Path

ETHERTYPE_ARP = 0x0806
# Ethernet and IPv4, six and four bytes: how every ARP packet begins (RFC 826).
ARP_HEAD = struct.pack("!HHBB", 1, 0x0800, 6, 4)
REQUEST, REPLY = 1, 2


def arp(address: str, interface: str, tries: int = 5) -> str:
    """The MAC that answers for `address` on the segment of `interface`."""
    own = bytes.fromhex(Path(f"/sys/class/net/{interface}/address").read_text().strip().replace(":", ""))
    target = socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as wire:
        wire.bind((interface, ETHERTYPE_ARP))
        # The sender's address is left zero, as in a probe (RFC 5227), so that
        # asking changes nobody's table.
        body = ARP_HEAD + struct.pack("!H", REQUEST) + own + bytes(4) + bytes(6) + target
        for _ in range(tries):
            wire.send(b"\xff" * 6 + own + struct.pack("!H", ETHERTYPE_ARP) + body)
            until = time.monotonic() + 1
            while (left := until - time.monotonic()) > 0:
                wire.settimeout(left)
                try:
                    packet = wire.recv(1514)[14:]
                except TimeoutError:
                    break
                is_reply = packet[:6] == ARP_HEAD and packet[6:8] == struct.pack("!H", REPLY)
                if is_reply and packet[14:18] == target:
                    return packet[8:14].hex(":")
    raise SystemExit(f"nobody answers ARP for {address} on {interface}")


async def ask(address: str, port: int, timeout: float) -> float | None:
    """When a connection of its own got an answer to one GET, if it did in time."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answered = (await reader.read(5)) == b"HTTP/"
            # Reset instead of a polite end: thousands of these are made.
            writer.transport.abort()
            return time.monotonic() if answered else None
    except (OSError, TimeoutError):
        return None


async def http(address: str, port: int, seconds: float, every: float, timeout: float) -> dict:
    """Asks every `every` seconds, without waiting for the answer to the last question.

    The outage is the longest time between two answers, less the time that
    always lies between two. It counts only if an answer came after it.
    """
    start = time.monotonic()
    questions = []
    while time.monotonic() - start < seconds:
        questions.append(asyncio.create_task(ask(address, port, timeout)))
        await asyncio.sleep(max(0.0, len(questions) * every - (time.monotonic() - start)))
    answers = [await question for question in questions]
    times = sorted(answer - start for answer in answers if answer is not None)
    gaps = [(later - earlier, earlier) for earlier, later in zip(times, times[1:])]
    longest, at = max(gaps, default=(0.0, 0.0))
    return {
        "asked": len(answers),
        "unanswered": len(answers) - len(times),
        "outage_ms": round(max(0.0, longest - every) * 1000),
        "outage_began_after_ms": round(at * 1000),
        "answered_at_the_end": bool(answers) and answers[-1] is not None,
    }


def main() -> None:
    """Reads the arguments and prints the answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=["arp", "http"])
    parser.add_argument("address")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=0.01, help="seconds between two questions")
    parser.add_argument("--timeout", type=float, default=0.9, help="seconds; below 1, when TCP asks again")
    args = parser.parse_args()
    if args.question == "arp":
        print(arp(args.address, args.interface))
        return
    result = asyncio.run(http(args.address, args.port, args.seconds, args.every, args.timeout))
    print(json.dumps(result))
    if result["unanswered"] == result["asked"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
