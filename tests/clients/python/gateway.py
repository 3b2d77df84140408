"""What Python programs do with etcd's JSON gateway: the module etcd3gw as distributions package it, unmodified.

    gateway.py HOST PORT

Prints "ok NAME" or "fail NAME: ERROR" per check; exits with 1 if one failed.
"""

import queue
import sys
import threading

import etcd3gw

# Far above what a check takes, because the machine may have other work.
PATIENCE_S = 30


def keys_are_put_read_and_deleted(client):
    assert client.put("keys/1", "a") and client.put("keys/2", "b")
    (value, metadata), = client.get("keys/1", metadata=True)
    assert (value, metadata["key"], metadata["version"]) == (b"a", b"keys/1", "1"), metadata
    found = [value for value, _ in client.get_prefix("keys/", sort_order="descend", sort_target="key")]
    assert found == [b"b", b"a"], found
    assert client.delete("keys/1") and not client.delete("keys/1")
    assert client.get("keys/1") == []
    assert client.delete_prefix("keys/") and client.get_prefix("keys/") == []


def an_empty_value_and_bytes_that_are_no_text_survive(client):
    client.put(b"bytes/\x00\xff", b"\x00\xff")
    client.put("bytes/empty", "")
    found = [(metadata["key"], value) for value, metadata in client.get_prefix("bytes/")]
    assert sorted(found) == [(b"bytes/\x00\xff", b"\x00\xff"), (b"bytes/empty", b"")], found


def a_transaction_takes_the_branch_that_its_comparison_says(client):
    assert client.create("txn", "1") and not client.create("txn", "2")
    assert client.replace("txn", "1", "3") and not client.replace("txn", "1", "4")
    assert client.get("txn") == [b"3"]


def a_watch_sees_the_past_and_the_present(client):
    client.put("watch/a", "1")
    (_, metadata), = client.get("watch/a", metadata=True)
    events, cancel = client.watch_prefix("watch/", start_revision=metadata["mod_revision"], prev_kv=True)
    # The iterator itself would wait for ever.
    too_late = threading.Timer(PATIENCE_S, cancel)
    too_late.start()
    created = next(events)
    client.put("watch/a", "2")
    modified = next(events)
    client.delete("watch/a")
    deleted = next(events)
    too_late.cancel()
    cancel()
    # Of an enum, the first member is left out.
    assert "type" not in created and created["kv"]["value"] == b"1", created
    assert modified["kv"]["value"] == b"2" and modified["prev_kv"]["version"] == "1", modified
    assert deleted["type"] == "DELETE" and deleted["prev_kv"]["version"] == "2", deleted


def a_watch_ends_after_one_event(client):
    writer = threading.Timer(0, client.put, ["once", "1"])
    (_, before), = client.get("txn", metadata=True)
    writer.start()
    event = client.watch_once("once", timeout=PATIENCE_S, start_revision=before["mod_revision"])
    writer.join()
    assert event["kv"]["key"] == b"once" and event["kv"]["value"] == b"1", event


def a_lease_takes_its_keys_with_it(client):
    lease = client.lease(ttl=600)
    client.put("leased", "v", lease=lease)
    assert lease.refresh() == 600 and 0 < lease.ttl() <= 600
    assert lease.keys() == [b"leased"]
    lease.revoke()
    assert client.get("leased") == []
    assert lease.refresh() == -1


def a_lock_has_one_owner(client):
    first, second = client.lock("lock", ttl=600), client.lock("lock", ttl=600)
    assert first.acquire() and first.is_acquired() and first.refresh() == 600
    assert not second.acquire() and not second.is_acquired()
    assert not second.release() and first.release()
    with second:
        assert second.is_acquired()
    # What the two hold of leases goes with the store.


def errors_have_their_types(client):
    lease = client.lease(ttl=600)
    lease.revoke()
    refused(etcd3gw.exceptions.Etcd3Exception, "requested lease not found", client.put, "k", "v", lease)
    refused(etcd3gw.exceptions.Etcd3Exception, "key is not provided", client.put, "", "v")


def refused(error_type, text, call, *arguments):
    try:
        call(*arguments)
    except error_type as error:
        assert text in error.detail_text, error.detail_text
    else:
        raise AssertionError(f"not refused: {text}")


def the_maintenance_calls_answer(client):
    status = client.status()
    assert status["version"].startswith("3.") and int(status["dbSize"]) > 0, status
    assert status["leader"] == status["header"]["member_id"], status
    assert len(client.members()) == 1


CHECKS = [
    keys_are_put_read_and_deleted,
    an_empty_value_and_bytes_that_are_no_text_survive,
    a_transaction_takes_the_branch_that_its_comparison_says,
    a_watch_sees_the_past_and_the_present,
    a_watch_ends_after_one_event,
    a_lease_takes_its_keys_with_it,
    a_lock_has_one_owner,
    errors_have_their_types,
    the_maintenance_calls_answer,
]


def main():
    host, port = sys.argv[1:]
    # Its default is the path of etcd 3.3.
    client = etcd3gw.Etcd3Client(host=host, port=int(port), timeout=PATIENCE_S, api_path="/v3/")
    has_failed = False
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(client)
            print("ok", name)
        except Exception as error:  # One that fails must not hide the others.
            has_failed = True
            print(f"fail {name}: {error!r}")
    sys.exit(1 if has_failed else 0)


main()
