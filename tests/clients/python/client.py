"""What Python programs do with etcd: the module etcd3 as distributions package it, unmodified.

    client.py HOST PORT

Prints "ok NAME" or "fail NAME: ERROR" per check; exits with 1 if one failed.
"""

import queue
import sys

import etcd3

# Far above what a check takes, because the machine may have other work.
PATIENCE_S = 30


def keys_are_put_read_and_deleted(client):
    client.put("keys/1", "a")
    client.put("keys/2", "b")
    value, metadata = client.get("keys/1")
    assert (value, metadata.version) == (b"a", 1)
    found = [value for value, _ in client.get_prefix("keys/", sort_order="descend")]
    assert found == [b"b", b"a"], found
    assert client.replace("keys/1", "a", "c") and not client.replace("keys/1", "a", "d")
    assert client.delete("keys/1") and not client.delete("keys/1")


def a_transaction_takes_the_branch_that_its_comparison_says(client):
    for is_first in (True, False):
        succeeded, _ = client.transaction(
            compare=[client.transactions.version("txn") == 0],
            success=[client.transactions.put("txn", "1")],
            failure=[client.transactions.get("txn")],
        )
        assert succeeded == is_first


def a_watch_sees_changes(client):
    seen = queue.Queue()
    watch_id = client.add_watch_prefix_callback("watch/", seen.put)
    client.put("watch/a", "1")
    client.delete("watch/a")
    events = []
    while len(events) < 2:
        events += seen.get(timeout=PATIENCE_S).events
    assert isinstance(events[0], etcd3.events.PutEvent) and events[0].value == b"1"
    assert isinstance(events[1], etcd3.events.DeleteEvent)
    client.cancel_watch(watch_id)


def a_lease_takes_its_keys_with_it(client):
    lease = client.lease(600)
    client.put("leased", "v", lease=lease)
    assert [answer.TTL for answer in lease.refresh()] == [600]
    assert lease.granted_ttl == 600 and list(lease.keys) == [b"leased"]
    lease.revoke()
    assert client.get("leased") == (None, None)


def a_lock_has_one_owner(client):
    first = client.lock("lock", ttl=60)
    assert first.acquire(timeout=PATIENCE_S) and first.is_acquired()
    second = client.lock("lock", ttl=60)
    # Its acquire() cannot wait with the tenacity of Debian 12, so it is called when the lock is free.
    assert not second.is_acquired() and not second.release()
    assert first.is_acquired() and first.release()
    assert second.acquire(timeout=PATIENCE_S) and second.is_acquired() and not first.is_acquired()
    second.release()


def the_maintenance_calls_answer(client):
    status = client.status()
    assert status.version.startswith("3.") and status.db_size > 0
    assert len(list(client.members)) == 1
    assert list(client.list_alarms()) == []
    client.hash()


CHECKS = [
    keys_are_put_read_and_deleted,
    a_transaction_takes_the_branch_that_its_comparison_says,
    a_watch_sees_changes,
    a_lease_takes_its_keys_with_it,
    a_lock_has_one_owner,
    the_maintenance_calls_answer,
]


def main():
    host, port = sys.argv[1:]
    client = etcd3.client(host=host, port=int(port), timeout=PATIENCE_S)
    has_failed = False
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(client)
            print("ok", name)
        except Exception as error:  # One that fails must not hide the others.
            has_failed = True
            print(f"fail {name}: {error!r}")
    client.close()
    sys.exit(1 if has_failed else 0)


main()
