# Takes the place of Zuul's scheduler: it is registered, and empties the queue.
import json
import time

import kazoo.client
import kazoo.exceptions

COMPONENT = "/zuul/components/scheduler/trial"
QUEUE = "/zuul/events/connection/gerrit/events/queue"

zk = kazoo.client.KazooClient("127.0.0.1:2181", connection_retry={"max_tries": -1})
zk.start(timeout=600)
try:
    while True:
        try:
            if not zk.exists(COMPONENT):
                state = {"hostname": "trial", "kind": "scheduler", "state": "running"}
                zk.create(COMPONENT, json.dumps(state).encode(), ephemeral=True, makepath=True)
            for node in zk.get_children(QUEUE):
                zk.delete(QUEUE + "/" + node)
        except kazoo.exceptions.KazooException:
            pass  # no queue yet, or no ZooKeeper
        time.sleep(0.2)
finally:
    zk.stop()
