package main

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func keys(ctx context.Context, client *clientv3.Client) error {
	for i := range 5 {
		if _, err := client.Put(ctx, fmt.Sprintf("keys/%d", i), "v"); err != nil {
			return err
		}
	}
	found, err := client.Get(ctx, "keys/", clientv3.WithPrefix(), clientv3.WithLimit(2),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return err
	}
	if found.Count != 5 || !found.More || string(found.Kvs[0].Key) != "keys/4" {
		return fmt.Errorf("unexpected %v", found)
	}
	deleted, err := client.Delete(ctx, "keys/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	return expect(deleted.Deleted == 5 && len(deleted.PrevKvs) == 5, "unexpected %v", deleted)
}

func transaction(ctx context.Context, client *clientv3.Client) error {
	for _, isFirst := range []bool{true, false} {
		answer, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.Version("txn"), "=", 0)).
			Then(clientv3.OpPut("txn", "1")).
			Else(clientv3.OpGet("txn"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("inner", "2")}, nil)).
			Commit()
		if err != nil {
			return err
		}
		if answer.Succeeded != isFirst {
			return fmt.Errorf("unexpected %v", answer)
		}
	}
	return nil
}

func watch(ctx context.Context, client *clientv3.Client) error {
	put, err := client.Put(ctx, "watch/a", "1")
	if err != nil {
		return err
	}
	events := client.Watch(clientv3.WithRequireLeader(ctx), "watch/", clientv3.WithPrefix(),
		clientv3.WithRev(put.Header.Revision), clientv3.WithPrevKV())
	if _, err := client.Put(ctx, "watch/a", "2"); err != nil {
		return err
	}
	if _, err := client.Delete(ctx, "watch/a"); err != nil {
		return err
	}
	var seen []*clientv3.Event
	for len(seen) < 3 {
		response, isOpen := <-events
		if err := response.Err(); err != nil || !isOpen {
			return fmt.Errorf("the watch ended: %v", err)
		}
		seen = append(seen, response.Events...)
	}
	last := seen[2]
	return expect(seen[0].IsCreate() && seen[1].IsModify() && last.Type == clientv3.EventTypeDelete &&
		string(last.PrevKv.Value) == "2", "unexpected %v", seen)
}

func compaction(ctx context.Context, client *clientv3.Client) error {
	for range 3 {
		if _, err := client.Put(ctx, "compaction", "v"); err != nil {
			return err
		}
	}
	now, err := client.Get(ctx, "compaction")
	if err != nil {
		return err
	}
	revision := now.Header.Revision
	if _, err := client.Compact(ctx, revision); err != nil {
		return err
	}
	response := <-client.Watch(ctx, "compaction", clientv3.WithRev(revision-1))
	if err := isError(response.Err(), rpctypes.ErrCompacted); err != nil {
		return err
	}
	return expect(response.CompactRevision == revision, "compacted at %d", response.CompactRevision)
}

func lease(ctx context.Context, client *clientv3.Client) error {
	granted, err := client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	renewals, err := client.KeepAlive(ctx, granted.ID)
	if err != nil {
		return err
	}
	if renewal := <-renewals; renewal == nil || renewal.TTL != 60 {
		return fmt.Errorf("unexpected %v", renewal)
	}
	if _, err := client.Put(ctx, "leased", "v", clientv3.WithLease(granted.ID)); err != nil {
		return err
	}
	left, err := client.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	if len(left.Keys) != 1 || string(left.Keys[0]) != "leased" {
		return fmt.Errorf("unexpected %v", left)
	}
	if _, err := client.Revoke(ctx, granted.ID); err != nil {
		return err
	}
	found, err := client.Get(ctx, "leased")
	if err != nil {
		return err
	}
	return expect(found.Count == 0, "the key is still there")
}

func typedErrors(ctx context.Context, client *clientv3.Client) error {
	_, err := client.Put(ctx, "k", "v", clientv3.WithLease(4242))
	if err := isError(err, rpctypes.ErrLeaseNotFound); err != nil {
		return err
	}
	_, err = client.Put(ctx, "", "v")
	if err := isError(err, rpctypes.ErrEmptyKey); err != nil {
		return err
	}
	_, err = client.Get(ctx, "k", clientv3.WithRev(1<<40))
	if err := isError(err, rpctypes.ErrFutureRev); err != nil {
		return err
	}
	_, err = client.UserGet(ctx, "nobody")
	return isError(err, rpctypes.ErrUserNotFound)
}

func maintenance(ctx context.Context, client *clientv3.Client) error {
	endpoint := client.Endpoints()[0]
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return err
	}
	if status.Leader != status.Header.MemberId || status.DbSize == 0 {
		return fmt.Errorf("unexpected %v", status)
	}
	if _, err := client.HashKV(ctx, endpoint, 0); err != nil {
		return err
	}
	if _, err := client.AlarmList(ctx); err != nil {
		return err
	}
	members, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	return expect(len(members.Members) == 1, "unexpected %v", members)
}
