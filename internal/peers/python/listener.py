"""Listens to one shard in the steps of Zuul's Python listener, with its mistakes: it begins at the tip when it finds no
checkpoint and whenever an iterator is refused, stops before the last page of a shard that ends, and queues events that Zuul
cannot process; a record that it cannot read stops it with the page half queued and no checkpoint. It campaigns again a few
seconds after an error.

It writes a history in the form of internal/history, and notes each step before it takes it. When its standard input ends it
gives back the leadership and ends.
"""

import datetime
import os
import time
import uuid
import zlib

import boto3
from botocore.config import Config
from kazoo.exceptions import BadVersionError, NoNodeError

MAX_NODE = 1_000_000  # bytes; the data of a larger event is stored beside the queue
AGAIN = 5  # seconds between an error and the next candidacy

# Zuul's addEvent queues none of these.
DROPPED = {
    "cache-eviction",
    "fetch-ref-replicated",
    "fetch-ref-replication-scheduled",
    "ref-replicated",
    "ref-replication-scheduled",
    "ref-replication-done",
}


class History:
    """Writes one line an event, each in one appending write: a killed process leaves whole lines."""

    def __init__(self, path, process, shard):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.process, self.shard = process, shard

    def add(self, kind, at=None, **fields):
        at = at or datetime.datetime.now(datetime.timezone.utc)
        event = {"at": at.isoformat(), "kind": kind, "process": self.process, "shard": self.shard, **fields}
        os.write(self.file, json.dumps(event).encode("utf-8") + b"\n")


def after(sequence):
    return {"after": sequence} if sequence else None


class Checkpoint:
    """A shard's checkpoint: read once a term, then written page by page."""

    def __init__(self, client, path):
        self.client, self.path = client, path
        self.version = -1  # unconditional

    def read(self):
        try:
            data, stat = self.client.get(self.path)
            value = json.loads(data.decode("utf-8"))
        except (NoNodeError, ValueError):
            return None
        self.version = stat.version
        return value["checkpoint"]

    def write(self, sequence):
        data = json.dumps({"checkpoint": sequence}, sort_keys=True).encode("utf-8")
        try:
            self.version = self.client.set(self.path, data, version=self.version).version
        except NoNodeError:
            self.client.create(self.path, data)
            self.version = 0


class Listener:
    def __init__(self, client, kinesis, args, history):
        self.client, self.kinesis, self.args, self.history = client, kinesis, args, history
        self.resigned = threading.Event()
        self.election = client.Election(args.root + "/election-aws_kinesis_" + args.shard, args.process)

    def run(self):
        while not self.resigned.is_set():
            try:
                self.election.run(self.lead)
            except Exception as error:  # the listener campaigns again
                self.history.add("foreign ended", note=repr(error)[:200])
                self.resigned.wait(AGAIN)

    def lead(self):
        began = datetime.datetime.now(datetime.timezone.utc)  # before the checkpoint is read
        checkpoint = Checkpoint(self.client, self.args.root + "/checkpoint-aws_kinesis_" + self.args.shard)
        sequence = checkpoint.read()
        self.history.add("foreign elected", at=began, position=after(sequence), note=self.election.lock.node or "")
        iterator = self.iterator(sequence)
        while not self.resigned.is_set():
            page = self.kinesis.get_records(ShardIterator=iterator)
            iterator = page["NextShardIterator"]  # KeyError at the shard's end, with the last page unhandled
            for record in page["Records"]:
                self.handle(record)
                sequence = record["SequenceNumber"]
            if page["Records"]:
                self.write(checkpoint, sequence)
            self.resigned.wait(0.5)
        self.history.add("foreign ended")

    def iterator(self, sequence):
        shard = {"StreamName": self.args.stream, "ShardId": self.args.shard}
        if sequence:
            try:
                return self.kinesis.get_shard_iterator(
                    ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=sequence, **shard
                )["ShardIterator"]
            except self.kinesis.exceptions.ClientError:  # including throttling
                pass
        return self.kinesis.get_shard_iterator(ShardIteratorType="LATEST", **shard)["ShardIterator"]

    def write(self, checkpoint, sequence):
        self.history.add("foreign writes", position=after(sequence), count=int(checkpoint.version < 0))
        try:
            checkpoint.write(sequence)
        except BadVersionError:
            self.history.add("foreign refused", position=after(sequence))
            raise
        self.history.add("foreign wrote", position=after(sequence))

    def handle(self, record):
        payload = json.loads(record["Data"])
        if payload["type"] in DROPPED:
            return
        event = {"payload": payload, "span_context": None, "timestamp": time.time(), "zuul_event_id": uuid.uuid4().hex}
        data = json.dumps({"event_data": event}, sort_keys=True).encode("utf-8")
        beside = self.args.root + "/events/data/" + str(uuid.uuid4()) if len(data) > MAX_NODE else ""
        item = {"seq": record["SequenceNumber"], "sub": -1, "id": event["zuul_event_id"]}
        self.history.add("foreign queues", items=[item], note=beside)
        if beside:
            self.put_beside(beside, json.dumps(event, sort_keys=True).encode("utf-8"))
            data = json.dumps({"event_data_path": beside}, sort_keys=True).encode("utf-8")
        self.client.create(self.args.root + "/events/queue/q", data, sequence=True)

    def put_beside(self, path, value):
        value = zlib.compress(value)
        self.client.create(path, makepath=True)
        for i in range(0, len(value), MAX_NODE):
            self.client.create(path + "/", value[i : i + MAX_NODE], sequence=True)


def main():
    parser = arguments()
    for name in ("root", "shard", "stream", "endpoint", "history", "process"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    client = connect(args)
    kinesis = boto3.client(
        "kinesis", endpoint_url=args.endpoint, config=Config(retries={"mode": "standard", "max_attempts": 3})
    )
    listener = Listener(client, kinesis, args, History(args.history, args.process, args.shard))
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    say("ready")
    for _ in commands():
        pass
    listener.resigned.set()
    listener.election.cancel()  # a waiting candidate stops waiting
    thread.join(timeout=30)
    leave(client)


main()
