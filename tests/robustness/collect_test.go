package main

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestALostRevisionIsFound(t *testing.T) {
	events := func(revisions ...int64) (response clientv3.WatchResponse) {
		for _, revision := range revisions {
			event := clientv3.Event{Kv: &mvccpb.KeyValue{ModRevision: revision}}
			response.Events = append(response.Events, &event)
		}
		return response
	}
	next := int64(2)
	if err := follow(events(2, 3, 3, 4), &next); err != nil || next != 5 {
		t.Errorf("next is %d: %v", next, err)
	}
	if err := follow(events(5, 7, 8), &next); err == nil || next != 9 {
		t.Errorf("revision 6 was lost, next is %d: %v", next, err)
	}
}
