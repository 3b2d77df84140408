package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

type totals struct {
	rounds, failed, skipped, operations, unknown, watches, events, restarts int
	revisions                                                               int64
	faults                                                                  map[string]int
	silence                                                                 time.Duration
	notes                                                                   []string
}

func (t *totals) note(text string) {
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

func (t *totals) add(p plan, r result, home string) {
	t.rounds++
	t.operations += r.operations
	t.unknown += r.unknown
	t.watches += r.watches
	t.events += r.events
	t.restarts += r.restarts
	t.revisions += r.revisions
	t.silence = max(t.silence, r.silence)
	for name, count := range r.faults {
		t.faults[name] += count
	}
	for _, note := range r.notes {
		t.note(note)
	}
	say("  %d operations (%d writes of unknown outcome), %d revisions, %d watches, %d events; at most %v without a write",
		r.operations, r.unknown, r.revisions, r.watches, r.events, r.silence.Round(time.Millisecond))
	if len(r.findings) == 0 {
		if r.skipped {
			t.skipped++
		}
		if r.isOddlySilent() {
			t.note(fmt.Sprintf("round %d (%s) had no write for %v; its history and logs are in %s", p.number, p,
				r.silence.Round(time.Second), home))
			return
		}
		os.RemoveAll(home)
		return
	}
	t.failed++
	say("  FOUND in round %d (%s):", p.number, p)
	for _, finding := range r.findings {
		say("  %s", strings.ReplaceAll(finding, "\n", "\n    "))
	}
}

func (t *totals) print(seed int64, dir string, took time.Duration) int {
	var faults []string
	count := 0
	for _, name := range slices.Sorted(maps.Keys(t.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, t.faults[name]))
		count += t.faults[name]
	}
	say("%d rounds in %v: %d operations (%d writes of unknown outcome), %d revisions, %d watches, %d events", t.rounds,
		took.Round(time.Second), t.operations, t.unknown, t.revisions, t.watches, t.events)
	say("%d faults: %s; %d restarts by the supervisor; at most %v without a write", count, strings.Join(faults, ", "), t.restarts,
		t.silence.Round(time.Millisecond))
	for _, note := range t.notes {
		say("note: %s", note)
	}
	if t.failed > 0 {
		say("history, reports and logs are in %s; --seed %d repeats the requests and faults", dir, seed)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.rounds-t.failed-t.skipped, t.failed, t.skipped)
	if t.failed > 0 {
		return 1
	}
	return 0
}
