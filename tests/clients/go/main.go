// What Go programs do with etcd: its own client and recipes, unmodified, against one endpoint.
//
//	client ENDPOINT
//	client --sync ENDPOINT
//
// The first prints "ok NAME" or "fail NAME: ERROR" per check; exits with 1 if one failed. The second is [followMembers].
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Far above what a check takes, because the machine may have other work.
const timeout = 30 * time.Second

type check struct {
	name string
	run  func(context.Context, *clientv3.Client) error
}

var checks = []check{
	{"keys are put, read and deleted", keys},
	{"a transaction takes the branch that its comparison says", transaction},
	{"a watch sees the past and the present", watch},
	{"a watch below the compaction ends with its typed error", compaction},
	{"a lease is kept alive, and takes its keys with it", lease},
	{"errors have their types", typedErrors},
	{"a mutex has one owner", mutex},
	{"a mutex is handed over when a session ends", mutexOfSession},
	{"an election has one leader, whom observers see", election},
	{"transactional memory counts every increment", transactionalMemory},
	{"a namespace hides its prefix", namespaced},
	{"a cache with leases sees what others write", leased},
	{"a mirror has everything and follows", mirrored},
	{"the maintenance calls answer", maintenance},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--sync" {
		if !followMembers(os.Args[2]) {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client [--sync] ENDPOINT")
		os.Exit(2)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   os.Args[1:],
		DialTimeout: timeout,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer client.Close()
	failed := false
	for _, check := range checks {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		err := check.run(ctx, client)
		cancel()
		if err != nil {
			failed = true
			fmt.Printf("fail %s: %v\n", check.name, err)
		} else {
			fmt.Printf("ok %s\n", check.name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

func expect(holds bool, format string, arguments ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

func isError(err, expected error) error {
	return expect(errors.Is(err, expected), "got error %v, not %v", err, expected)
}
