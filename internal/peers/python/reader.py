"""Consumes a connection's event queue in the order and the steps of Zuul's scheduler, and raises on anything that any
release of Zuul would drop, keep for ever or stop at.

An event is printed with its payload's bytes as they are in the node, neither parsed nor rewritten.
"""

import base64
import hashlib
import math
import queue
import re
import time
import zlib

from kazoo.exceptions import NoNodeError

MAX_DEPTH = 200  # of a payload
MAX_NUMBER = 4000  # characters
MAX_CHUNK = 1_000_000  # bytes

QUEUE_NODE = re.compile(r"q[0-9]{10}")
EVENT_ID = re.compile(r"[0-9a-f]{32}")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


# JSON. A token of what is known to be valid JSON, without escaped quotes: a string, a mark, or a number or literal.
TOKEN = re.compile(rb'"[^"]*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def tokens(data):
    """Yields the tokens' positions. Megabytes of escapes are common: Gerrit writes < as six characters."""
    return TOKEN.finditer(data.replace(rb"\\", b"__").replace(rb"\"", b"__"))


def check_depth(data):
    depth = 0
    for token in tokens(data):
        first = data[token.start()]
        if first in b"{[":
            depth += 1
            require(depth <= MAX_DEPTH, f"nested deeper than {MAX_DEPTH}")
        elif first in b"}]":
            depth -= 1


def members(data):
    """Yields the names and spans of an object's members."""
    depth, name, begin, previous = 0, None, None, None
    for token in tokens(data):
        first = data[token.start()]
        if depth == 1 and first == ord(":"):
            name = json.loads(data[previous.start() : previous.end()])
        elif depth == 1 and first in b",}" and name is not None:
            yield name, begin, previous.end()
            name, begin = None, None
        elif name is not None and begin is None:
            begin = token.start()
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
            if depth == 0:
                return
        previous = token


def parse_integer(text):
    require(len(text) <= MAX_NUMBER, f"an integer of more than {MAX_NUMBER} characters")
    return int(text)


def parse_float(text):
    require(len(text) <= MAX_NUMBER, f"a number of more than {MAX_NUMBER} characters")
    value = float(text)
    require(math.isfinite(value), "a number that no float holds")
    return value


def parse_constant(text):
    raise Stumble(f"{text} is not JSON")


def parse(data):
    """Parses strictly, and refuses strings that cannot be written again as UTF-8."""
    require(data, "empty data")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Stumble(f"invalid UTF-8: {error.reason}") from error
    try:
        value = json.loads(text, parse_int=parse_integer, parse_float=parse_float, parse_constant=parse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise Stumble("nested too deep for Python") from error
    except UnicodeEncodeError as error:
        raise Stumble("a lone surrogate") from error
    except ValueError as error:
        raise Stumble(f"not JSON: {error}") from error
    return value


def exact_members(data, value, names, what):
    """Returns the spans of an object's members, which are exactly these."""
    require(isinstance(value, dict), f"{what} is not an object")
    found = [(name, begin, end) for name, begin, end in members(data)]
    require(sorted(name for name, _, _ in found) == sorted(names), f"{what} has the members {[n for n, _, _ in found]}")
    return {name: (begin, end) for name, begin, end in found}


# Events.


def judge_span(span):
    """Judges a span_context by what Zuul does with it, and returns the span's traceparent, or "".

    Zuul reads three members of whatever is true, and makes a link to that span, also if nobody keeps it. Its exporter
    writes the identifiers as 32 and 16 hexadecimal digits.
    """
    if span is None:
        return ""
    require(isinstance(span, dict), "span_context is not an object")
    names = ["span_id", "trace_flags", "trace_id"]
    require(list(span) == names, f"span_context has the members {list(span)}")
    for name, bits in zip(names, (64, 8, 128)):
        require(type(span[name]) is int and 0 < span[name] < 1 << bits, f"{name} is no number of {bits} bits")
    require(span["trace_flags"] & 1, "span_context is not sampled")
    return f"00-{span['trace_id']:032x}-{span['span_id']:016x}-{span['trace_flags']:02x}"


def judge_event_data(data):
    """Returns the printed form of an event with this `event_data`."""
    value = parse(data)
    spans = exact_members(data, value, ["payload", "span_context", "timestamp", "zuul_event_id"], "event_data")
    event_id, timestamp = value["zuul_event_id"], value["timestamp"]
    require(isinstance(event_id, str) and EVENT_ID.fullmatch(event_id), "zuul_event_id is not 32 hexadecimal digits")
    require(isinstance(timestamp, float), "timestamp is not a float")
    require(timestamp <= time.time(), "timestamp is in the future")
    span = judge_span(value["span_context"])
    begin, end = spans["payload"]
    raw = data[begin:end]
    check_depth(raw)
    judge_payload(value["payload"])
    return {
        "event_id": event_id,
        "timestamp": timestamp,
        "span": span,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "payload": base64.b64encode(raw).decode("ascii"),
    }


def inflate(chunks):
    """Returns the content of the newest format: one zlib stream, cut into chunks."""
    require(chunks, "side data without chunks")
    for chunk in chunks:
        require(len(chunk) <= MAX_CHUNK, f"a chunk of {len(chunk)} bytes")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(b"".join(chunks)) + inflater.flush()
    except zlib.error as error:
        raise Stumble(f"side data is not zlib: {error}") from error
    require(inflater.eof, "side data is cut off")
    require(not inflater.unused_data, "side data is more than one zlib stream")
    return data


class Reader:
    """A connection's queue. As in Zuul, lost connections to ZooKeeper are restored."""

    def __init__(self, client, root):
        self.client, self.root = client, root
        self.queue, self.data = root + "/events/queue", root + "/events/data"

    def get(self, path):
        data, _ = self.client.retry(self.client.get, path)
        return data

    def children(self, path, watch=None):
        return sorted(self.client.retry(self.client.get_children, path, watch))

    def count(self, path):
        try:
            return len(self.children(path))
        except NoNodeError:
            return 0

    def delete(self, path, recursive=False):
        try:
            self.client.retry(self.client.delete, path, recursive=recursive)
        except NoNodeError:
            pass  # by an earlier attempt whose reply was lost

    def ensure(self):
        for path in (self.queue, self.data, self.root + "/election"):
            self.client.retry(self.client.ensure_path, path)

    def side_data(self, path):
        """Reads an event's data from beside the queue."""
        require(isinstance(path, str), "event_data_path is not a string")
        parent, _, name = path.rpartition("/")
        require(parent == self.data and UUID4.fullmatch(name), f"event_data_path is not a UUID below {self.data}")
        try:
            names = self.children(path)
            require(names == ["%010d" % i for i in range(len(names))], f"side data has the chunks {names}")
            return inflate([self.get(path + "/" + chunk) for chunk in names])
        except NoNodeError as error:
            raise Stumble("side data is missing") from error

    def judge(self, data):
        """Returns the printed form of a queue node's event, and the path of its side data, if any."""
        value = parse(data)
        require(isinstance(value, dict), "the top level is not an object")
        if "event_data_path" in value:
            exact_members(data, value, ["event_data_path"], "the top level")
            path = value["event_data_path"]
            return {**judge_event_data(self.side_data(path)), "side_data": path}, path
        spans = exact_members(data, value, ["event_data"], "the top level")
        begin, end = spans["event_data"]
        return judge_event_data(data[begin:end]), None

    def pass_over(self, acknowledge, watch=None):
        """Handles every queued event, in order, and returns their number."""
        names = self.children(self.queue, watch)
        for name in names:
            path = self.queue + "/" + name
            try:
                require(QUEUE_NODE.fullmatch(name), "the name is not Zuul's")
                event, side = self.judge(self.get(path))
            except Stumble as error:
                say("stumble", node=name, error=str(error))
                raise
            say("event", node=name, **event)
            if acknowledge:
                self.delete(path)
                if side:
                    self.delete(side, recursive=True)
        return len(names)

    # Commands.

    def read(self, commands):
        return {"events": self.pass_over(acknowledge=False), "side_data": self.count(self.data)}

    def drain(self, commands):
        return {"events": self.pass_over(acknowledge=True), "side_data": self.count(self.data)}

    def follow(self, commands):
        """Drains repeatedly until the next command, which is "halt"."""

        def look(_):
            commands.put({"do": "look"})

        events = 0
        while True:
            events += self.pass_over(acknowledge=True, watch=look)
            command = commands.get()
            if command is None or command["do"] == "halt":
                return {"events": events, "side_data": self.count(self.data)}

    def judge_bytes(self, commands, data):
        """Judges data as if it were a node's."""
        try:
            event, _ = self.judge(base64.b64decode(data))
        except Stumble as error:
            return {"error": str(error)}
        return event

    def checkpoints(self, commands):
        """Every shard's checkpoint as Zuul's listener understands it."""
        prefix = "checkpoint-aws_kinesis_"
        shards = {}
        for name in self.children(self.root):
            if name.startswith(prefix):
                shards[name[len(prefix) :]] = read_checkpoint(self.get(self.root + "/" + name))
        return {"shards": shards}


def read_checkpoint(data):
    """Reads a checkpoint: a sequence number, none (Zuul begins at LATEST), or an error (Zuul never begins)."""
    try:
        value = json.loads(data.decode("utf-8"))
    except ValueError as error:
        return {"none": f"undecodable: {type(error).__name__}"}
    if not isinstance(value, dict) or "checkpoint" not in value:
        return {"error": "no object with a checkpoint"}
    sequence = value["checkpoint"]
    if sequence is None:
        return {"none": "null"}
    if not isinstance(sequence, str) or not re.fullmatch(r"[0-9]+", sequence):
        return {"error": "the checkpoint is no sequence number"}
    return {"sequence": sequence}


def receive(into):
    """Hands on commands as they come, and None at their end."""
    for command in commands():
        into.put(command)
    into.put(None)


def main():
    parser = arguments()
    parser.add_argument("--root", required=True, help="the connection's node, below the chroot")
    parser.add_argument("--touch-nothing", action="store_true", help="do not create what Zuul's consumer creates")
    args = parser.parse_args()
    client = connect(args)
    reader = Reader(client, args.root)
    if not args.touch_nothing:
        reader.ensure()
    waiting = queue.Queue()
    threading.Thread(target=receive, args=(waiting,), daemon=True).start()
    say("ready")
    while (command := waiting.get()) is not None:
        do = command.pop("do")
        if do in ("look", "halt"):
            continue  # left over from following
        say("done", **getattr(reader, do)(waiting, **command))
    leave(client)


main()
