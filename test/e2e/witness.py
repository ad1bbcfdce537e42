"""The witness: compares what a stream acknowledged with what a gerritstream database holds.

Usage: witness.py DATABASE PUTS

It shares no code with gerritstream, whose own judge is internal/history, so that no fault in that judge or in the code
that reads a database can hide another fault.

PUTS has one JSON object a line: shard, sequence_number and sha256 as the stream's producer got or made them, and want:
"queued", "filtered" or "dead letter". Each put must be found once where it is wanted, with its bytes, and nothing else
may be there. The events of a shard must be in the order of their sequence numbers. Prints one JSON object of counts.
"""

import collections
import contextlib
import hashlib
import json
import sqlite3
import sys


def read_puts(path):
    """What is wanted, by table: (shard, sequence number) -> SHA-256."""
    wanted = {"queued": {}, "filtered": {}, "dead letter": {}}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            put = json.loads(line)
            wanted[put["want"]][put["shard"], int(put["sequence_number"])] = put["sha256"]
    return wanted


def read_rows(database):
    """The events in the order of the queue, and the dead letters: (shard, sequence number, SHA-256)."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        events = [
            (shard, int(seq), hashlib.sha256(payload).hexdigest())
            for shard, seq, payload in db.execute("SELECT shard, seq, payload FROM events ORDER BY n")
        ]
        dead_letters = [
            (shard, int(seq), digest.hex())
            for shard, seq, digest in db.execute("SELECT shard, seq, sha256 FROM dead_letters ORDER BY n")
        ]
    return events, dead_letters


def compare(wanted, rows):
    found = collections.Counter((shard, seq) for shard, seq, _ in rows)
    changed = [row for row in rows if wanted.get(row[:2], row[2]) != row[2]]
    return {
        "wanted": len(wanted),
        "rows": len(rows),
        "missing": len(wanted.keys() - found.keys()),
        "extra": len(found.keys() - wanted.keys()),
        "doubled": found.total() - len(found),
        "changed": len(changed),
        "disordered": count_disordered(rows),
    }


def count_disordered(rows):
    newest, disordered = {}, 0
    for shard, seq, _ in rows:
        disordered += seq <= newest.get(shard, -1)
        newest[shard] = seq
    return disordered


def main():
    database, puts = sys.argv[1:]
    wanted = read_puts(puts)
    events, dead_letters = read_rows(database)
    result = {
        "events": compare(wanted["queued"], events),
        "dead_letters": compare(wanted["dead letter"], dead_letters),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
