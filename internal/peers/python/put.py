"""Puts events into a Kinesis stream with boto3 and reports where each of them went.

Standard input: one event a line: its partition key, a tab, its bytes in base64. A batch is put as soon as it is full.
Standard output: one JSON object a line, in the order of putting: shard, sequence_number, sha256, key.

With --reshard N, for N events in all, the first open shard is split after a third of them, and the last two are merged after
two thirds, while events are put. The last sixth waits for that, so that every open shard gets some.
"""

import argparse
import base64
import hashlib
import itertools
import json
import sys
import threading
import time

import boto3
from botocore.config import Config


def connect(endpoint):
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        config=Config(retries={"mode": "standard", "max_attempts": 10}),
    )


def wait_active(client, stream):
    while True:
        if client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
            return
        time.sleep(0.02)


def create(client, stream, shards):
    client.create_stream(StreamName=stream, ShardCount=shards)
    wait_active(client, stream)


def open_shards(client, stream):
    """The open shards, in the order of their hash keys."""
    shards = [
        shard
        for page in client.get_paginator("list_shards").paginate(StreamName=stream)
        for shard in page["Shards"]
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    ]
    return sorted(shards, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def split(client, stream):
    shard = open_shards(client, stream)[0]
    low = int(shard["HashKeyRange"]["StartingHashKey"])
    high = int(shard["HashKeyRange"]["EndingHashKey"])
    client.split_shard(
        StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2)
    )
    wait_active(client, stream)


def merge(client, stream):
    # Not the first ones: those are the children of the split.
    left, right = open_shards(client, stream)[-2:]
    client.merge_shards(
        StreamName=stream, ShardToMerge=left["ShardId"], AdjacentShardToMerge=right["ShardId"]
    )
    wait_active(client, stream)


class Resharding:
    """Splits and merges in the background, each once a number of events was put."""

    def __init__(self, client, stream, total):
        self.steps = [(total // 3, split), (2 * total // 3, merge)]
        self.client, self.stream, self.total = client, stream, total
        self.running = None
        self.errors = []

    def put_so_far(self, count):
        if count >= 5 * self.total // 6:
            self.finish()
        elif self.steps and count >= self.steps[0][0] and not (self.running and self.running.is_alive()):
            self.start()

    def start(self):
        _, step = self.steps.pop(0)
        self.running = threading.Thread(target=self.run, args=(step,))
        self.running.start()

    def run(self, step):
        try:
            step(self.client, self.stream)
        except Exception as error:  # for the main thread, which raises it
            self.errors.append(error)

    def finish(self):
        self.join()
        while self.steps:
            self.start()
            self.join()
        if self.errors:
            raise self.errors[0]

    def join(self):
        if self.running:
            self.running.join()


def put(client, stream, events):
    """Puts one batch until every event of it is accepted, and yields where each one went."""
    while events:
        reply = client.put_records(
            StreamName=stream, Records=[{"Data": data, "PartitionKey": key} for key, data in events]
        )
        refused = []
        for event, result in zip(events, reply["Records"], strict=True):
            if "SequenceNumber" in result and "ErrorCode" not in result:
                yield event, result
            else:
                refused.append(event)
        events = refused
        if refused:
            time.sleep(0.1)


def events_from(lines):
    for line in lines:
        key, _, data = line.rstrip("\n").partition("\t")
        yield key, base64.b64decode(data, validate=True)


def batches(events, size, pause):
    while batch := list(itertools.islice(events, size)):
        yield batch
        time.sleep(pause)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--create", type=int, metavar="SHARDS", help="create the stream first")
    parser.add_argument("--reshard", type=int, metavar="N", help="split and merge while putting N events")
    parser.add_argument("--batch", type=int, default=100, help="events a request")
    parser.add_argument("--pause", type=float, default=0, help="seconds between requests")
    args = parser.parse_args()

    client = connect(args.endpoint)
    if args.create:
        create(client, args.stream, args.create)
    resharding = Resharding(client, args.stream, args.reshard) if args.reshard else None
    count = 0
    for batch in batches(events_from(sys.stdin), args.batch, args.pause):
        for (key, data), result in put(client, args.stream, batch):
            record = {
                "shard": result["ShardId"],
                "sequence_number": result["SequenceNumber"],
                "sha256": hashlib.sha256(data).hexdigest(),
                "key": key,
            }
            print(json.dumps(record))
        sys.stdout.flush()
        count += len(batch)
        if resharding:
            resharding.put_so_far(count)


if __name__ == "__main__":
    main()
