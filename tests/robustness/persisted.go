package main

import (
	"maps"
	"slices"

	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// persistedRequests returns requests that make the history, which is what etcd's validation replays. etcd has them from its
// log; here they follow from what was written: puts and deletions of a revision are a transaction without conditions, a
// lease is granted before its first key, and a revision in which a lease lost all its keys is its revocation.
//
// Compactions that a client knows of are left out, since their place among the writes cannot be told, and the validation
// does without it. Those of unknown outcome come last, for else it would take them for not done.
func persistedRequests(h *history, reports []report.ClientReport) []model.EtcdRequest {
	revocations := revocationsOf(reports)
	var requests []model.EtcdRequest
	granted := map[int64]bool{}
	leaseOf := map[string]int64{}
	h.each(func(revision int64, changes []change) {
		if lease := revocations.lease(revision, changes, leaseOf); lease != 0 {
			requests = append(requests, model.EtcdRequest{
				Type: model.LeaseRevoke, LeaseRevoke: &model.LeaseRevokeRequest{LeaseID: lease},
			})
			for _, c := range changes {
				delete(leaseOf, c.Key)
			}
			return
		}
		var operations []model.EtcdOperation
		for _, c := range changes {
			delete(leaseOf, c.Key)
			if c.Lease != 0 {
				leaseOf[c.Key] = c.Lease
				if !granted[c.Lease] {
					granted[c.Lease] = true
					requests = append(requests, model.EtcdRequest{
						Type: model.LeaseGrant, LeaseGrant: &model.LeaseGrantRequest{LeaseID: c.Lease},
					})
				}
			}
			operations = append(operations, operationOf(c))
		}
		requests = append(requests, model.EtcdRequest{
			Type: model.Txn,
			Txn:  &model.TxnRequest{OperationsOnSuccess: operations},
		})
	})
	return append(requests, unknownCompactions(reports)...)
}

func operationOf(c change) model.EtcdOperation {
	if c.Deleted {
		return model.EtcdOperation{Type: model.DeleteOperation, Delete: model.DeleteOptions{Key: c.Key}}
	}
	return model.EtcdOperation{
		Type: model.PutOperation,
		Put:  model.PutOptions{Key: c.Key, Value: c.modelValue(), LeaseID: c.Lease},
	}
}

func unknownCompactions(reports []report.ClientReport) (requests []model.EtcdRequest) {
	eachOperation(reports, func(request model.EtcdRequest, response model.MaybeEtcdResponse) {
		if request.Type == model.Compact && response.Error != "" {
			requests = append(requests, request)
		}
	})
	return requests
}

func eachOperation(reports []report.ClientReport, visit func(model.EtcdRequest, model.MaybeEtcdResponse)) {
	for _, r := range reports {
		for _, operation := range r.KeyValue {
			visit(operation.Input.(model.EtcdRequest), operation.Output.(model.MaybeEtcdResponse))
		}
	}
}

// revocations is what clients asked for that deletes keys: the leases that they revoked, by the revision of the answer and
// without one, and the revisions that are known to be of a deletion.
type revocations struct {
	at       map[int64]int64
	unknown  map[int64]bool
	deletion map[int64]bool
}

func revocationsOf(reports []report.ClientReport) revocations {
	r := revocations{map[int64]int64{}, map[int64]bool{}, map[int64]bool{}}
	eachOperation(reports, func(request model.EtcdRequest, response model.MaybeEtcdResponse) {
		switch {
		case request.Type == model.LeaseRevoke && response.Error != "":
			r.unknown[request.LeaseRevoke.LeaseID] = true
		case request.Type == model.LeaseRevoke:
			r.at[response.Revision] = request.LeaseRevoke.LeaseID
		case request.Type == model.Txn && response.Error == "" && deletes(request, response):
			r.deletion[response.Revision] = true
		}
	})
	return r
}

func deletes(request model.EtcdRequest, response model.MaybeEtcdResponse) bool {
	operations := taken(request, response)
	for i, operation := range operations {
		if operation.Type == model.DeleteOperation && response.Txn.Results[i].Deleted > 0 {
			return true
		}
	}
	return false
}

// taken returns the operations of the branch that a transaction took.
func taken(request model.EtcdRequest, response model.MaybeEtcdResponse) []model.EtcdOperation {
	if response.Txn.Failure {
		return request.Txn.OperationsOnFailure
	}
	return request.Txn.OperationsOnSuccess
}

// lease returns the lease whose revocation made a revision, or 0.
func (r revocations) lease(revision int64, changes []change, leaseOf map[string]int64) int64 {
	lease := leaseOf[changes[0].Key]
	if lease == 0 || r.deletion[revision] || (r.at[revision] != lease && !r.unknown[lease]) {
		return 0
	}
	gone := map[string]bool{}
	for _, c := range changes {
		if !c.Deleted {
			return 0
		}
		gone[c.Key] = true
	}
	for key, of := range leaseOf {
		if (of == lease) != gone[key] {
			return 0
		}
	}
	return lease
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
