package main

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
)

const (
	increments = 20
	counters   = 4
)

func sessions(client *clientv3.Client) (first, second *concurrency.Session, err error) {
	if first, err = concurrency.NewSession(client, concurrency.WithTTL(10)); err != nil {
		return
	}
	second, err = concurrency.NewSession(client, concurrency.WithTTL(10))
	return
}

func mutex(ctx context.Context, client *clientv3.Client) error {
	first, second, err := sessions(client)
	if err != nil {
		return err
	}
	defer first.Close()
	defer second.Close()
	owner := concurrency.NewMutex(first, "mutex")
	if err := owner.Lock(ctx); err != nil {
		return err
	}
	other := concurrency.NewMutex(second, "mutex")
	if err := isError(other.TryLock(ctx), concurrency.ErrLocked); err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() { locked <- other.Lock(ctx) }()
	owned, err := client.Txn(ctx).If(owner.IsOwner()).Then(clientv3.OpPut("guarded", "v")).Commit()
	if err != nil {
		return err
	}
	if !owned.Succeeded {
		return fmt.Errorf("the owner does not own it")
	}
	if err := owner.Unlock(ctx); err != nil {
		return err
	}
	if err := <-locked; err != nil {
		return err
	}
	return other.Unlock(ctx)
}

func mutexOfSession(ctx context.Context, client *clientv3.Client) error {
	first, second, err := sessions(client)
	if err != nil {
		return err
	}
	defer second.Close()
	if err := concurrency.NewMutex(first, "orphaned").Lock(ctx); err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() { locked <- concurrency.NewMutex(second, "orphaned").Lock(ctx) }()
	if err := first.Close(); err != nil {
		return err
	}
	return <-locked
}

func election(ctx context.Context, client *clientv3.Client) error {
	first, second, err := sessions(client)
	if err != nil {
		return err
	}
	defer first.Close()
	defer second.Close()
	one, two := concurrency.NewElection(first, "election"), concurrency.NewElection(second, "election")
	_, err = one.Leader(ctx)
	if err := isError(err, concurrency.ErrElectionNoLeader); err != nil {
		return err
	}
	observed := two.Observe(ctx)
	next := func(expected string) error {
		seen := <-observed
		return expect(len(seen.Kvs) == 1 && string(seen.Kvs[0].Value) == expected, "saw %v, not %s", seen, expected)
	}
	if err := one.Campaign(ctx, "one"); err != nil {
		return err
	}
	if err := next("one"); err != nil {
		return err
	}
	if err := one.Proclaim(ctx, "still one"); err != nil {
		return err
	}
	if err := next("still one"); err != nil {
		return err
	}
	elected := make(chan error, 1)
	go func() { elected <- two.Campaign(ctx, "two") }()
	if err := one.Resign(ctx); err != nil {
		return err
	}
	if err := <-elected; err != nil {
		return err
	}
	if err := next("two"); err != nil {
		return err
	}
	return two.Resign(ctx)
}

func transactionalMemory(ctx context.Context, client *clientv3.Client) error {
	increment := func(memory concurrency.STM) error {
		// Not there, it counts as 0.
		count, _ := strconv.Atoi(memory.Get("counter"))
		memory.Put("counter", strconv.Itoa(count+1))
		return nil
	}
	failed := make(chan error, counters)
	for i := range counters {
		isolation := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable}[i%2]
		go func() {
			for range increments {
				_, err := concurrency.NewSTM(client, increment, concurrency.WithIsolation(isolation),
					concurrency.WithAbortContext(ctx))
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range counters {
		if err := <-failed; err != nil {
			return err
		}
	}
	count, err := client.Get(ctx, "counter")
	if err != nil {
		return err
	}
	value := string(count.Kvs[0].Value)
	return expect(value == strconv.Itoa(counters*increments), "counted %s", value)
}

func namespaced(ctx context.Context, client *clientv3.Client) error {
	inner := namespace.NewKV(client.KV, "namespace/")
	if _, err := inner.Put(ctx, "k", "v"); err != nil {
		return err
	}
	found, err := inner.Get(ctx, "", clientv3.WithFromKey())
	if err != nil {
		return err
	}
	if len(found.Kvs) != 1 || string(found.Kvs[0].Key) != "k" {
		return fmt.Errorf("unexpected %v", found)
	}
	outer, err := client.Get(ctx, "namespace/k")
	if err != nil {
		return err
	}
	return expect(outer.Count == 1, "it is not there")
}

func leased(ctx context.Context, client *clientv3.Client) error {
	cache, closeCache, err := leasing.NewKV(client, "leasing/")
	if err != nil {
		return err
	}
	defer closeCache()
	other, closeOther, err := leasing.NewKV(client, "leasing/")
	if err != nil {
		return err
	}
	defer closeOther()
	for _, value := range []string{"1", "2"} {
		if _, err := other.Put(ctx, "cached", value); err != nil {
			return err
		}
		found, err := cache.Get(ctx, "cached")
		if err != nil {
			return err
		}
		if string(found.Kvs[0].Value) != value {
			return fmt.Errorf("the cache says %v", found)
		}
	}
	return nil
}

func mirrored(ctx context.Context, client *clientv3.Client) error {
	for i := range 3 {
		if _, err := client.Put(ctx, fmt.Sprintf("mirror/%d", i), "v"); err != nil {
			return err
		}
	}
	syncer := mirror.NewSyncer(client, "mirror/", 0)
	pages, failures := syncer.SyncBase(ctx)
	count := 0
	for page := range pages {
		count += len(page.Kvs)
	}
	if err := <-failures; err != nil {
		return err
	}
	if count != 3 {
		return fmt.Errorf("%d keys", count)
	}
	updates := syncer.SyncUpdates(ctx)
	if _, err := client.Put(ctx, "mirror/3", "v"); err != nil {
		return err
	}
	update := <-updates
	return expect(len(update.Events) == 1, "unexpected %v", update)
}
