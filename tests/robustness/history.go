package main

import (
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/robustness/model"
)

// A change is what one transaction did to one key.
type change struct {
	Key            string
	Value          string `json:",omitempty"`
	Deleted        bool   `json:",omitempty"`
	Lease          int64  `json:",omitempty"`
	CreateRevision int64  `json:",omitempty"`
	Version        int64  `json:",omitempty"`
}

func changeOf(event *clientv3.Event) change {
	if event.Type == mvccpb.Event_DELETE {
		return change{Key: string(event.Kv.Key), Deleted: true}
	}
	return change{
		Key:            string(event.Kv.Key),
		Value:          string(event.Kv.Value),
		Lease:          event.Kv.Lease,
		CreateRevision: event.Kv.CreateRevision,
		Version:        event.Kv.Version,
	}
}

func (c change) modelValue() model.ValueOrHash { return model.ToValueOrHash(c.Value) }

// A history holds what the store wrote: the changes of each revision, in their order.
type history struct {
	changes map[int64][]change
	last    int64
}

func newHistory() *history { return &history{changes: map[int64][]change{}, last: 1} }

// add takes the changes of a revision. They may come several times, from several nodes, and must be the same.
func (h *history) add(revision int64, changes []change, source string) error {
	known, found := h.changes[revision]
	if found && !slices.Equal(known, changes) {
		return fmt.Errorf("revision %d differs: %s has %+v, seen before: %+v", revision, source, changes, known)
	}
	h.changes[revision] = changes
	h.last = max(h.last, revision)
	return nil
}

// missing returns the first revision that is not there, or 0.
func (h *history) missing() int64 {
	for revision := int64(2); revision <= h.last; revision++ {
		if _, found := h.changes[revision]; !found {
			return revision
		}
	}
	return 0
}

// each calls a function for every revision, in order.
func (h *history) each(visit func(revision int64, changes []change)) {
	for revision := int64(2); revision <= h.last; revision++ {
		visit(revision, h.changes[revision])
	}
}

// check tells where the history contradicts itself: revisions without holes, and what etcd counts for each key.
func (h *history) check() []string {
	if revision := h.missing(); revision != 0 {
		return []string{fmt.Sprintf("the history has no revision %d, and goes up to %d", revision, h.last)}
	}
	var found []string
	alive := map[string]change{}
	h.each(func(revision int64, changes []change) {
		for _, c := range changes {
			before, existed := alive[c.Key]
			if c.Deleted {
				if !existed {
					found = append(found, fmt.Sprintf("revision %d deletes %q, which was not there", revision, c.Key))
				}
				delete(alive, c.Key)
				continue
			}
			created, version := revision, int64(1)
			if existed {
				created, version = before.CreateRevision, before.Version+1
			}
			if c.CreateRevision != created || c.Version != version {
				found = append(found, fmt.Sprintf("revision %d should have create revision %d and version %d: %+v",
					revision, created, version, c))
			}
			alive[c.Key] = c
		}
	})
	return found
}
