package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/tests/v3/robustness/report"
	"go.etcd.io/etcd/tests/v3/robustness/validate"
	"go.uber.org/zap"
)

// Porcupine takes seconds, unless there is much that nobody knows the outcome of.
const judgedWithin = time.Minute

// judgeReports has etcd's validation and the check by revision look at what clients saw.
func judgeReports(logger *zap.Logger, dir string, h *history, reports []report.ClientReport, unique bool, r *result) {
	if revision := h.missing(); revision != 0 {
		// Nobody was there to see it before it was compacted. Without compaction, the reading at the end has told already.
		r.notes = append(r.notes, "a revision was compacted before a watch had it: that round was not judged")
		r.skipped = true
		return
	}
	reports = withoutRefusals(reports)
	if found := checkRevisions(h, reports); len(found) > 0 {
		r.findings = append(r.findings, "revisions: "+firstOf(found))
	}
	// It panics where the history lacks what it needs.
	defer func() {
		if problem := recover(); problem != nil {
			r.findings = append(r.findings, fmt.Sprintf("etcd's validation panicked: %v", problem))
		}
	}()
	judgement := validate.ValidateAndReturnVisualize(logger, validate.Config{ExpectRevisionUnique: unique}, reports,
		persistedRequests(h, reports), judgedWithin)
	if status := judgement.Linearization.Status; status == validate.Timeout || status == validate.DeadlineExceeded {
		r.notes = append(r.notes, fmt.Sprintf("porcupine did not end in %v: that round was judged by revisions only", judgedWithin))
		r.skipped = true
		return
	}
	if err := judgement.Error(); err != nil {
		r.find("etcd's validation", err)
		picture := filepath.Join(dir, "history.html")
		r.find("the picture", porcupine.VisualizePath(judgement.Linearization.Model, judgement.Linearization.Info, picture))
		return
	}
	parts := []validate.Result{judgement.Assumptions, judgement.Linearization.Result, judgement.Watch, judgement.Serializable}
	for _, one := range parts {
		if one.Status != validate.Success {
			r.findings = append(r.findings, "etcd's validation skipped a part")
		}
	}
}

// keep leaves what clients and watches saw, and the logs, in the round's directory.
func keep(logger *zap.Logger, dir string, c cluster, h *history, reports []report.ClientReport, unique bool) error {
	for _, path := range c.logs() {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("server-%s.log", filepath.Base(filepath.Dir(path)))
		if filepath.Dir(path) == dir {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	if h == nil {
		return nil
	}
	text, err := json.MarshalIndent(h.changes, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "history.json"), text, 0o600); err != nil {
		return err
	}
	kept, err := report.NewTestReport(logger, filepath.Join(dir, "reports"), nil, &report.TrafficDetail{ExpectUniqueRevision: unique})
	if err != nil {
		return err
	}
	kept.SetClientReports(reports)
	return kept.SaveEtcdData()
}

// judgeAgain judges what keep has left of a round.
func judgeAgain(dir string) int {
	h := newHistory()
	text, err := os.ReadFile(filepath.Join(dir, "history.json"))
	if err != nil {
		fail("%v", err)
	}
	if err := json.Unmarshal(text, &h.changes); err != nil {
		fail("%v", err)
	}
	for revision := range h.changes {
		h.last = max(h.last, revision)
	}
	reports, err := report.LoadClientReports(filepath.Join(dir, "reports"))
	if err != nil {
		fail("%v", err)
	}
	detail, err := report.LoadTrafficDetail(filepath.Join(dir, "reports"))
	if err != nil {
		fail("%v", err)
	}
	logger, err := fileLogger("stderr")
	if err != nil {
		fail("%v", err)
	}
	var r result
	judgeReports(logger, dir, h, reports, detail.ExpectUniqueRevision, &r)
	for _, finding := range r.findings {
		say("%s", finding)
	}
	failed := 0
	if len(r.findings) > 0 {
		failed = 1
	}
	fmt.Printf("%d passed, %d failed, 0 skipped\n", 1-failed, failed)
	return failed
}
