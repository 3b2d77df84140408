package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

const (
	// How often the client asks where the members are.
	syncInterval = time.Second
	// Callers, each with a key of its own.
	callers = 4
	// The time of others between two rounds of a caller.
	pause = 20 * time.Millisecond
)

// Calls until SIGTERM, with a client that is told one endpoint and finds the others. Prints "ok HOST:PORT" for each call that
// a member answered. A caller ends with its first failure, "fail ERROR". Reports whether there was none.
func followMembers(endpoint string) bool {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:        []string{endpoint},
		AutoSyncInterval: syncInterval,
		DialTimeout:      timeout,
		DialOptions:      []grpc.DialOption{grpc.WithChainUnaryInterceptor(noteMember)},
		Logger:           zap.NewNop(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	defer client.Close()
	var failures atomic.Int64
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			key := fmt.Sprintf("sync/%d", caller)
			for round := 0; stop.Err() == nil; round++ {
				if err := putAndGet(client, key, fmt.Sprint(round)); err != nil {
					failures.Add(1)
					fmt.Printf("fail %v\n", err)
					return
				}
				time.Sleep(pause)
			}
		})
	}
	running.Wait()
	return failures.Load() == 0
}

type memberKey struct{}

// Puts the address of the member that answered where the context of the call says.
func noteMember(ctx context.Context, method string, request, answer any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if member, ok := ctx.Value(memberKey{}).(*peer.Peer); ok {
		options = append(options, grpc.Peer(member))
	}
	return invoke(ctx, method, request, answer, connection, options...)
}

// Writes a key that nobody else writes, and reads it.
func putAndGet(client *clientv3.Client, key, value string) error {
	err := answered(func(ctx context.Context) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	err = answered(func(ctx context.Context) error {
		found, err := client.Get(ctx, key)
		if err != nil {
			return err
		}
		return expect(found.Count == 1 && string(found.Kvs[0].Value) == value, "not %s: %v", value, found)
	})
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	return nil
}

// Makes a call, and prints which member answered.
func answered(call func(context.Context) error) error {
	var member peer.Peer
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), memberKey{}, &member), timeout)
	defer cancel()
	if err := call(ctx); err != nil {
		return err
	}
	fmt.Printf("ok %v\n", member.Addr)
	return nil
}
