"""Judges a Gerrit event by what Zuul's scheduler does with it, and raises on anything that would stop any of its releases.

It follows two behaviours step by step: that of summer and autumn 2025, whose dispatcher orders events first and uses some of
their members as keys of dictionaries, with and without a replication_timeout; and that of earlier releases, whose handler
keeps an event for ever if it fails. The table after them has every member that any of them reads.
"""

# What Zuul's addEvent never queues: it names no project, or is not needed.
NEVER_QUEUED = {"cache-eviction"}

NOTHING = type(None)
TEXT = (str, NOTHING)
NUMBER = (int, float, str, NOTHING)

# Each member that is read, and its harmless types. "*" is every element of a list; a bool is no int here.
TYPES = {
    "newRev": TEXT,
    "uuid": TEXT,
    "comment": TEXT,
    "ref": TEXT,
    "refName": TEXT,
    "projectName": TEXT,
    "newHead": TEXT,
    "project": (str, dict, NOTHING),
    "project/name": TEXT,
    "change": (dict,),
    "change/project": (str,),
    "change/number": NUMBER,
    "change/branch": TEXT,
    "change/id": TEXT,
    "change/url": TEXT,
    "change/topic": TEXT,
    "change/status": TEXT,
    "patchSet": (dict,),
    "patchSet/number": NUMBER,
    "patchSet/ref": TEXT,
    "patchSet/revision": TEXT,
    "patchSetComments": (dict,),
    "patchSetComments/~1PATCHSET_LEVEL": (list,),
    "patchSetComments/~1PATCHSET_LEVEL/*": (dict,),
    "patchSetComments/~1PATCHSET_LEVEL/*/message": TEXT,
    "refUpdate": (dict,),
    "refUpdate/project": (str,),
    "refUpdate/refName": (str,),
    "refUpdate/oldRev": TEXT,
    "refUpdate/newRev": TEXT,
    "approvals": (list,),
    "approvals/*": (dict,),
    "approvals/*/type": (str,),
    "approvals/*/description": (str,),
    "approvals/*/value": (int, float, str),
    "approvals/*/oldValue": (int, float, str),
    "added": (list, dict),
    "added/*": (str,),
    "removed": (list, dict),
    "removed/*": (str,),
}

# The account that caused an event, by type.
ACCOUNTS = {
    "patchset-created": "uploader",
    "change-abandoned": "abandoner",
    "change-restored": "restorer",
    "change-merged": "submitter",
    "comment-added": "author",
    "ref-updated": "submitter",
    "reviewer-added": "reviewer",
    "topic-changed": "changer",
    "hashtags-changed": "editor",
    "vote-deleted": "deleter",
}


class Stumble(Exception):
    """Zuul would not get past this."""


def require(condition, what):
    if not condition:
        raise Stumble(what)


def found(value, steps):
    """Yields the values at a path."""
    if not steps:
        yield value
    elif steps[0] == "*":
        for element in value if isinstance(value, list) else []:
            yield from found(element, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from found(value[steps[0]], steps[1:])


def check_type(payload, path, types):
    for value in found(payload, [step.replace("~1", "/") for step in path.split("/")]):
        fits = isinstance(value, types) and not isinstance(value, bool)
        require(fits, f"{path} is a {type(value).__name__}")


def check_types(payload):
    for path, types in TYPES.items():
        check_type(payload, path, types)
    account = ACCOUNTS.get(payload["type"])
    if account:
        check_type(payload, account, (dict, NOTHING))
        for name in ("name", "email", "username"):
            check_type(payload, f"{account}/{name}", TEXT)


def is_branch(ref):
    return ref.startswith("refs/heads/") or not ref.startswith("refs/")


def place_of(payload):
    """The project and ref by which a replication is awaited."""
    kind = payload["type"]
    change, update = payload.get("change", {}), payload.get("refUpdate", {})
    if kind == "ref-updated":
        return update.get("project"), update.get("refName")
    if kind == "patchset-created":
        return change.get("project"), payload.get("patchSet", {}).get("ref")
    if kind == "change-merged":
        return change.get("project"), payload.get("refName")
    return payload.get("project"), payload.get("ref")


def dispatch(payload, replication_timeout):
    """What the dispatcher of August 2025 does first. A failure stops the whole queue."""
    merged, replicating = {}, {}
    kind, update = payload["type"], payload.get("refUpdate", {})
    if kind == "ref-updated" and is_branch(update.get("refName")):
        merged[update.get("newRev")] = kind
    elif kind == "ref-updated":
        merged.get(update.get("newRev"))
    elif kind == "change-merged":
        merged[payload.get("newRev")] = kind
    if kind in ("ref-replicated", "ref-replication-scheduled"):
        replicating[payload.get("project"), payload.get("ref")] = kind
    if replication_timeout > 0:
        project, ref = place_of(payload)
        if project and ref:
            replicating.get((project, ref))


def handle(payload):
    """What the handler before summer 2025 reads of an event. A failure keeps only that event in the queue."""
    change, update, kind = payload.get("change"), payload.get("refUpdate"), payload["type"]
    if change:
        for holder in (change, payload.get("patchSet") or {}):
            str(holder.get("number"))
        for comment in payload.get("patchSetComments", {}).get("/PATCHSET_LEVEL") or []:
            comment.get("message")
    if kind == "project-head-updated":
        payload.get("newHead")[len("refs/heads/") :]
        require(isinstance(payload.get("projectName"), str), "project-head-updated has no projectName that is a string")
    if kind == "ref-updated" and is_branch(update.get("refName")):
        "host/" + update.get("project")


def go_through(what, step, *args):
    try:
        step(*args)
    except Stumble:
        raise
    except Exception as error:
        raise Stumble(f"{what}: {error}") from error


def project_of(payload):
    for holder, name in (("change", "project"), ("refUpdate", "project"), (None, "project"), (None, "projectName")):
        value = payload.get(holder, {}) if holder else payload
        if isinstance(value.get(name), str):
            return value[name]
    return None


def judge_payload(payload):
    require(isinstance(payload, dict), "payload is missing or not an object")
    event_type = payload.get("type")
    require(isinstance(event_type, str), "type is missing or not a string")
    for name in ("change", "patchSet", "refUpdate", "patchSetComments"):
        require(isinstance(payload.get(name, {}), dict), f"{name} is not an object")
    change = payload.get("change", {})
    require(isinstance(change.get("project", ""), str), "change.project is not a string")
    if event_type == "ref-updated":
        ref_name = payload.get("refUpdate", {}).get("refName")
        require(isinstance(ref_name, str), "ref-updated has no refUpdate.refName that is a string")
    if event_type == "project-head-updated":
        require(isinstance(payload.get("newHead"), str), "project-head-updated has no newHead that is a string")
    go_through("the dispatcher of August 2025", dispatch, payload, 0)
    go_through("the dispatcher of August 2025 that waits for replication", dispatch, payload, 300)
    go_through("the handler before summer 2025", handle, payload)
    check_types(payload)
    require(project_of(payload) or event_type not in NEVER_QUEUED, f"no project name, of type {event_type}")
