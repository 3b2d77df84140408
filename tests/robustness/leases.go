package main

import (
	"slices"

	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// checkRevocations looks for the revision at which a lease lost all its keys. If that was while the answer was waited for, and
// it was no deletion of a client, it was the revocation.
func (j *judge) checkRevocations(reports []report.ClientReport, asked asked, past past) {
	ends := j.endsOfLeases()
	deletion := revocationsOf(reports).deletion
	for _, r := range reports {
		for _, operation := range r.KeyValue {
			request := operation.Input.(model.EtcdRequest)
			response := operation.Output.(model.MaybeEtcdResponse)
			if request.Type != model.LeaseRevoke || response.Error != "" {
				continue
			}
			end := ends[request.LeaseRevoke.LeaseID]
			if end <= past.before(operation.Call) || end == response.Revision || deletion[end] {
				continue
			}
			isDoubtful := func(c change) bool { return asked.unknownDeletes[c.Key] }
			if !slices.ContainsFunc(j.history.changes[end], isDoubtful) {
				j.say("the keys of the lease were deleted at revision %d: %s", end, describe(operation))
			}
		}
	}
}

// endsOfLeases returns the last revision at which all keys of a lease were deleted.
func (j *judge) endsOfLeases() map[int64]int64 {
	ends := map[int64]int64{}
	leaseOf := map[string]int64{}
	keys := map[int64]int{}
	j.history.each(func(revision int64, changes []change) {
		for _, c := range changes {
			before := leaseOf[c.Key]
			if keys[before]--; c.Deleted && before != 0 && keys[before] == 0 {
				ends[before] = revision
			}
			leaseOf[c.Key] = c.Lease
			keys[c.Lease]++
		}
	})
	return ends
}
