"""The beginning of candidate.py, listener.py and reader.py: a kazoo session, commands and answers.

Standard input: one command a line, a JSON object whose "do" names it. Its end ends the program.
Standard output: one JSON object a line, whose "is" names its kind. Every command is answered by one line; other lines are
unsolicited.
"""

import argparse
import json
import os
import sys
import threading

from kazoo.client import KazooClient

_printing = threading.Lock()


def say(what, **fields):
    """Prints one line, from any thread."""
    with _printing:
        print(json.dumps({"is": what, **fields}), flush=True)


def commands():
    for line in sys.stdin:
        yield json.loads(line)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", required=True, help="as in zuul.conf: HOST:PORT,HOST:PORT/CHROOT")
    parser.add_argument("--timeout", type=float, default=10, help="the session's, in seconds")
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    return parser


def connect(args):
    client = KazooClient(
        hosts=args.hosts,
        timeout=args.timeout,
        use_ssl=bool(args.cert),
        ca=args.ca,
        certfile=args.cert,
        keyfile=args.key,
    )
    client.start(timeout=60)
    return client


def leave(client):
    """Closes the session and ends the process, whatever its other threads do.

    They are not waited for: Python aborts at its end when one of them is printing.
    """
    client.stop()
    with _printing:
        os._exit(0)
