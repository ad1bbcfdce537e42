"""Campaigns for shards as Zuul's Python listener does, with kazoo's own Election or Lock. While it leads, or only believes
that it leads, it does what that listener does, on command.
"""

import time
import uuid

from kazoo.exceptions import CancelledError, KazooException, NoNodeError


class Candidacy:
    """A campaign in a thread of its own, which leads until it is told to resign."""

    def __init__(self, client, path, identifier, how):
        self.path = path
        self.resigned = threading.Event()
        if how not in ("election", "lock"):
            raise ValueError("neither an election nor a lock")
        self.election = client.Election(path, identifier) if how == "election" else None
        self.lock = self.election.lock if self.election else client.Lock(path, identifier)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            if self.election:
                self.election.run(self.lead)
            else:
                self.hold()
        except CancelledError:
            pass
        except Exception as error:
            say("failed", path=self.path, error=repr(error))

    def hold(self):
        self.lock.acquire()
        try:
            self.lead()
        finally:
            self.lock.release()

    def lead(self):
        say("leads", path=self.path, node=self.lock.node)
        self.resigned.wait()

    def resign(self):
        self.resigned.set()
        # A leader does not notice; a waiting candidate stops waiting.
        self.lock.cancel()
        self.thread.join()


class Checkpoint:
    """A shard's checkpoint as a Python leader uses it: read once, then written again and again."""

    def __init__(self, client, path):
        self.client, self.path = client, path
        self.version = None  # read nothing: the next write is unconditional

    def read(self):
        self.version = None
        try:
            data, stat = self.client.retry(self.client.get, self.path)
        except NoNodeError:
            return None
        try:
            value = json.loads(data.decode("utf-8"))
        except ValueError:
            return None
        self.version = stat.version
        return value["checkpoint"]

    def write(self, sequence):
        data = json.dumps({"checkpoint": sequence}, sort_keys=True).encode("utf-8")
        version = -1 if self.version is None else self.version
        try:
            stat = self.client.retry(self.client.set, self.path, data, version=version)
            self.version = stat.version
        except NoNodeError:
            self.client.retry(self.client.create, self.path, data)
            self.version = 0


class Candidate:
    def __init__(self, client):
        self.client = client
        self.candidacies = {}
        self.checkpoints = {}

    def campaign(self, path, identifier, how):
        if path in self.candidacies:
            raise ValueError("campaigns already for " + path)
        self.candidacies[path] = Candidacy(self.client, path, identifier, how)

    def resign(self, path):
        self.candidacies.pop(path).resign()

    def candidates(self, path):
        return {"identifiers": self.client.Lock(path).contenders()}

    def read(self, path):
        checkpoint = self.checkpoints[path] = Checkpoint(self.client, path)
        return {"checkpoint": checkpoint.read(), "version": checkpoint.version}

    def write(self, path, sequence):
        """Writes at the version that this process knows; it knows none before its first read."""
        checkpoint = self.checkpoints.setdefault(path, Checkpoint(self.client, path))
        checkpoint.write(sequence)
        return {"version": checkpoint.version}

    def put(self, root, payload):
        """Queues an event, whether this process leads or not."""
        event = {
            "payload": payload,
            "span_context": None,
            "timestamp": time.time(),
            "zuul_event_id": uuid.uuid4().hex,
        }
        data = json.dumps({"event_data": event}, sort_keys=True).encode("utf-8")
        path = self.client.retry(self.client.create, root + "/events/queue/q", data, sequence=True, makepath=True)
        return {"path": path}

    def session(self):
        """The session's id, and its state according to kazoo."""
        session_id, _ = self.client.client_id
        return {"session": "%x" % session_id, "state": self.client.state}


def main():
    args = arguments().parse_args()
    client = connect(args)
    candidate = Candidate(client)
    say("ready")
    for command in commands():
        do = getattr(candidate, command.pop("do"))
        try:
            say("done", **(do(**command) or {}))
        except (KazooException, ValueError, KeyError, TypeError) as error:
            say("refused", error=type(error).__name__, detail=str(error))
    leave(client)


main()
