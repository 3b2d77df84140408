package main

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

func put(key, value string) model.EtcdRequest {
	return model.EtcdRequest{Type: model.Txn, Txn: &model.TxnRequest{OperationsOnSuccess: []model.EtcdOperation{
		{Type: model.PutOperation, Put: model.PutOptions{Key: key, Value: model.ToValueOrHash(value)}},
	}}}
}

func done(revision int64) model.MaybeEtcdResponse {
	return model.MaybeEtcdResponse{EtcdResponse: model.EtcdResponse{
		Revision: revision, Txn: &model.TxnResponse{Results: []model.EtcdOperationResult{{}}},
	}}
}

func get(key string) model.EtcdRequest {
	return model.EtcdRequest{Type: model.Range, Range: &model.RangeRequest{RangeOptions: model.RangeOptions{Start: key}}}
}

func found(revision int64, kvs ...model.KeyValue) model.MaybeEtcdResponse {
	if kvs == nil {
		kvs = []model.KeyValue{}
	}
	return model.MaybeEtcdResponse{EtcdResponse: model.EtcdResponse{
		Revision: revision, Range: &model.RangeResponse{KVs: kvs, Count: int64(len(kvs))},
	}}
}

func keyValue(key, value string, revision, version int64) model.KeyValue {
	return model.KeyValue{Key: key, ValueRevision: model.ValueRevision{
		Value: model.ToValueOrHash(value), ModRevision: revision, Version: version,
	}}
}

func operation(call, end int64, request model.EtcdRequest, response model.MaybeEtcdResponse) porcupine.Operation {
	return porcupine.Operation{Input: request, Output: response, Call: call, Return: end}
}

// Two puts, one of them without an answer, and a read.
func sound() (*history, report.ClientReport) {
	h := newHistory()
	h.add(2, []change{{Key: "a", Value: "1", CreateRevision: 2, Version: 1}}, "")
	h.add(3, []change{{Key: "a", Value: "2", CreateRevision: 2, Version: 2}}, "")
	return h, report.ClientReport{
		KeyValue: []porcupine.Operation{
			operation(1, 2, get("a"), found(1)),
			operation(3, 4, put("a", "1"), done(2)),
			operation(5, 6, put("a", "2"), model.MaybeEtcdResponse{Error: "lost"}),
			operation(7, 8, get("a"), found(3, keyValue("a", "2", 3, 2))),
		},
		Watch: []model.WatchOperation{{Responses: []model.WatchResponse{{Events: []model.WatchEvent{{
			PersistedEvent: model.PersistedEvent{
				Event:    model.Event{Type: model.PutOperation, Key: "a", Value: model.ToValueOrHash("1")},
				Revision: 2, IsCreate: true,
			},
		}}}}}},
	}
}

func TestNothingIsFoundInASoundHistory(t *testing.T) {
	h, reports := sound()
	if findings := checkRevisions(h, []report.ClientReport{reports}); len(findings) > 0 {
		t.Error(findings)
	}
	if requests := persistedRequests(h, []report.ClientReport{reports}); len(requests) != 2 {
		t.Error(requests)
	}
}

func TestWhatIsPlantedIsFound(t *testing.T) {
	cases := map[string]struct {
		plant func(h *history, r *report.ClientReport)
		found string
	}{
		"a wrong revision in a reply": {func(_ *history, r *report.ClientReport) {
			r.KeyValue[1].Output = done(3)
		}, "the history has"},
		"a lost write": {func(h *history, r *report.ClientReport) {
			r.KeyValue = append(r.KeyValue, operation(9, 10, put("a", "3"), done(4)))
		}, "the history ends at revision 3"},
		"a stale read": {func(_ *history, r *report.ClientReport) {
			r.KeyValue = append(r.KeyValue, operation(9, 10, get("a"), found(2, keyValue("a", "1", 2, 1))))
		}, "revision 3 had been answered before"},
		"a wrong value": {func(_ *history, r *report.ClientReport) {
			r.KeyValue[3].Output = found(3, keyValue("a", "1", 2, 1))
		}, "at revision 3 there was"},
		"a write that nobody asked for": {func(h *history, _ *report.ClientReport) {
			h.add(4, []change{{Key: "b", Value: "1", CreateRevision: 4, Version: 1}}, "")
		}, "asked for 0 times"},
		"a write that was done twice": {func(h *history, _ *report.ClientReport) {
			h.add(4, []change{{Key: "a", Value: "2", CreateRevision: 2, Version: 3}}, "")
		}, "done 2 times"},
		"a hole": {func(h *history, _ *report.ClientReport) {
			h.last = 4
		}, "no revision 4"},
		"a wrong version": {func(h *history, _ *report.ClientReport) {
			h.changes[3][0].Version = 1
		}, "should have create revision 2 and version 2"},
		"an event of another value": {func(_ *history, r *report.ClientReport) {
			r.Watch[0].Responses[0].Events[0].Value = model.ToValueOrHash("3")
		}, "was sent"},
		"two answers with one revision": {func(_ *history, r *report.ClientReport) {
			r.KeyValue = append(r.KeyValue, operation(3, 4, put("a", "1"), done(2)))
		}, "two writes have revision 2"},
	}
	for name, planted := range cases {
		t.Run(name, func(t *testing.T) {
			h, reports := sound()
			planted.plant(h, &reports)
			text := strings.Join(checkRevisions(h, []report.ClientReport{reports}), "\n")
			if !strings.Contains(text, planted.found) {
				t.Errorf("%q is not in %q", planted.found, text)
			}
		})
	}
}

func TestNodesThatDifferAreFound(t *testing.T) {
	h, _ := sound()
	if h.add(3, []change{{Key: "a", Value: "3", CreateRevision: 2, Version: 2}}, "node 1") == nil {
		t.Error("revision 3 differs")
	}
}

func TestARefusedWriteThatWasDoneIsFound(t *testing.T) {
	h, sound := sound()
	sound.KeyValue[2].Output = model.MaybeEtcdResponse{Error: "etcdserver: mvcc: database space exceeded"}
	if findings := checkRevisions(h, withoutRefusals([]report.ClientReport{sound})); len(findings) != 1 {
		t.Error(findings)
	}
	if len(sound.KeyValue) != 4 {
		t.Error("the reports were changed")
	}
}

func TestARevocationHasTheRevisionOfItsDeletions(t *testing.T) {
	for answered, isFound := range map[int64]bool{3: false, 4: true} {
		h := newHistory()
		h.add(2, []change{{Key: "a", Value: "1", Lease: 7, CreateRevision: 2, Version: 1}}, "")
		h.add(3, []change{{Key: "a", Deleted: true}}, "")
		h.add(4, []change{{Key: "b", Value: "2", CreateRevision: 4, Version: 1}}, "")
		write := put("a", "1")
		write.Txn.OperationsOnSuccess[0].Put.LeaseID = 7
		revoke := model.EtcdRequest{Type: model.LeaseRevoke, LeaseRevoke: &model.LeaseRevokeRequest{LeaseID: 7}}
		findings := checkRevisions(h, []report.ClientReport{{KeyValue: []porcupine.Operation{
			operation(1, 2, write, done(2)),
			operation(3, 5, revoke, model.MaybeEtcdResponse{EtcdResponse: model.EtcdResponse{Revision: answered}}),
			operation(4, 5, put("b", "2"), done(4)),
		}}})
		if (len(findings) > 0) != isFound {
			t.Errorf("answered %d: %v", answered, findings)
		}
	}
}

func TestARevokedLeaseIsOneRequest(t *testing.T) {
	h := newHistory()
	h.add(2, []change{{Key: "a", Value: "1", Lease: 7, CreateRevision: 2, Version: 1}}, "")
	h.add(3, []change{{Key: "a", Deleted: true}}, "")
	revoke := model.EtcdRequest{Type: model.LeaseRevoke, LeaseRevoke: &model.LeaseRevokeRequest{LeaseID: 7}}
	reports := []report.ClientReport{{KeyValue: []porcupine.Operation{
		operation(1, 2, revoke, model.MaybeEtcdResponse{EtcdResponse: model.EtcdResponse{Revision: 3}}),
	}}}
	requests := persistedRequests(h, reports)
	if len(requests) != 3 || requests[0].Type != model.LeaseGrant || requests[2].Type != model.LeaseRevoke {
		t.Error(requests)
	}
}
