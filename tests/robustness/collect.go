package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// How long a node that is well has for its whole history.
const readingTakesAtMost = 30 * time.Second

// A collector watches every node from the first revision on. Together they have the whole history also when some of it is
// compacted meanwhile.
type collector struct {
	mutex    sync.Mutex
	history  *history
	findings []string

	cancel context.CancelFunc
	group  sync.WaitGroup
}

func startCollector(endpoints []string) (*collector, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &collector{history: newHistory(), cancel: cancel}
	for _, endpoint := range endpoints {
		client, err := newClient(endpoint)
		if err != nil {
			cancel()
			return nil, err
		}
		c.group.Go(func() {
			defer client.Close()
			c.follow(ctx, client, endpoint)
		})
	}
	return c, nil
}

func newClient(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		Logger:               zap.NewNop(),
		DialKeepAliveTime:    time.Second,
		DialKeepAliveTimeout: time.Second,
	})
}

func (c *collector) follow(ctx context.Context, client *clientv3.Client, source string) {
	next := int64(2)
	for ctx.Err() == nil {
		for response := range client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(next)) {
			if response.CompactRevision != 0 {
				next = max(next, response.CompactRevision+1)
			}
			c.take(response, source)
			if err := follow(response, &next); err != nil {
				c.find(fmt.Sprintf("the watch on %s: %v", source, err))
			}
		}
		// A stream that ends at once should not cost a processor.
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *collector) find(finding string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.findings = append(c.findings, finding)
}

// follow checks that the events continue those before: a watch of all keys has an event of every revision.
func follow(response clientv3.WatchResponse, next *int64) (err error) {
	for _, event := range response.Events {
		switch revision, expected := event.Kv.ModRevision, *next; revision {
		case expected:
			*next++
		case expected - 1:
		default:
			*next = max(revision, expected-1) + 1
			err = errors.Join(err, fmt.Errorf("revision %d follows %d", revision, expected-1))
		}
	}
	return err
}

func (c *collector) take(response clientv3.WatchResponse, source string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for revision, changes := range byRevision(response.Events) {
		if err := c.history.add(revision, changes, "a watch on "+source); err != nil {
			c.findings = append(c.findings, err.Error())
		}
	}
}

func byRevision(events []*clientv3.Event) map[int64][]change {
	changes := map[int64][]change{}
	for _, event := range events {
		changes[event.Kv.ModRevision] = append(changes[event.Kv.ModRevision], changeOf(event))
	}
	return changes
}

// stop ends the watches, and reads once more from each node all that it still has, up to a revision.
func (c *collector) stop(endpoints []string, until int64) (*history, []string) {
	c.cancel()
	c.group.Wait()
	for _, endpoint := range endpoints {
		if err := c.readAgain(endpoint, until); err != nil {
			c.findings = append(c.findings, fmt.Sprintf("%s, read at the end: %v", endpoint, err))
		}
	}
	return c.history, c.findings
}

func (c *collector) readAgain(endpoint string, until int64) error {
	client, err := newClient(endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readingTakesAtMost)
	defer cancel()
	from := int64(2)
	for from <= until {
		before := from
		for response := range client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from)) {
			if errors.Is(response.Err(), rpctypes.ErrCompacted) {
				// A deletion at that revision itself may be gone.
				from = response.CompactRevision + 1
				continue
			}
			if response.Err() != nil {
				return response.Err()
			}
			c.take(response, endpoint)
			if err := follow(response, &from); err != nil {
				return err
			}
			if from > until {
				return nil
			}
		}
		if ctx.Err() != nil || from == before {
			return fmt.Errorf("the watch ended at revision %d of %d: %w", from, until, context.Cause(ctx))
		}
	}
	return nil
}
