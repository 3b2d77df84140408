package main

import (
	"math/rand"
	"slices"
	"time"
)

// A duration between two bounds.
type span struct{ from, to time.Duration }

func (s span) draw(random *rand.Rand) time.Duration {
	return s.from + time.Duration(random.Int63n(int64(s.to-s.from)))
}

var (
	// Between two faults.
	calm = span{500 * time.Millisecond, 2 * time.Second}
	// Elections take up to 600 ms: some of these are shorter, most longer. When a node is away for longer, etcd's client
	// waits ever longer before it connects again, and the round is spent with that.
	away = span{200 * time.Millisecond, 2500 * time.Millisecond}
)

const (
	// The leader is worth most faults.
	leaderIsMeant = 0.7
	// Often enough the next fault meets a cluster that is still recovering.
	recoversFirst = 0.6
)

// A fault begins, lasts, and is undone.
type fault struct {
	name string
	do   func(f *injector, node int) error
}

var anywhere = []fault{
	{"kill", func(f *injector, node int) error {
		return f.between(f.kill(node), func() error { return f.start(node) })
	}},
	{"pause", func(f *injector, node int) error {
		return f.between(f.pause(node), func() error { return f.wake(node) })
	}},
	// Watches are open, so that a stop takes seconds, and there is one of them for two others.
	{"restart", func(f *injector, node int) error {
		if err := f.stop(node); err != nil {
			return err
		}
		return f.start(node)
	}},
}

var onTrio = []fault{
	{"kill all", func(f *injector, _ int) error {
		for node := range f.endpoints() {
			if err := f.kill(node); err != nil {
				return err
			}
		}
		for node := range f.endpoints() {
			if err := f.start(node); err != nil {
				return err
			}
		}
		return nil
	}},
	// Losing one disk of three that have the data loses nothing; more may.
	{"wipe", func(f *injector, node int) error {
		if err := waitUntilAllVote(f); err != nil {
			return err
		}
		return f.between(f.wipe(node), func() error { return f.start(node) })
	}},
}

var onDisk = []fault{
	{"fill", func(f *injector, node int) error { return f.between(f.network.fill(node), f.network.heal) }},
}

var onLinks = []fault{
	{"cut", func(f *injector, node int) error {
		return f.between(f.network.cut(node, f.others(node)[0]), f.network.heal)
	}},
	{"isolate", func(f *injector, node int) error {
		return f.toOthers(node, func(other int) error { return f.network.cut(node, other) })
	}},
	{"mute", func(f *injector, node int) error {
		return f.toOthers(node, func(other int) error { return f.network.cutOneWay(node, other) })
	}},
	{"deafen", func(f *injector, node int) error {
		return f.toOthers(node, func(other int) error { return f.network.cutOneWay(other, node) })
	}},
}

// An injector does faults, one after the other, as its random numbers say.
type injector struct {
	cluster
	// Nil where links and disks cannot fail.
	network network
	random  *rand.Rand
	known   []fault
	done    map[string]int
}

func newInjector(c cluster, random *rand.Rand) *injector {
	f := &injector{cluster: c, random: random, done: map[string]int{}}
	f.network, _ = c.(network)
	isTrio := len(c.endpoints()) > 1
	f.known = slices.Concat(anywhere, anywhere[:2])
	if isTrio {
		f.known = slices.Concat(f.known, onTrio)
	}
	if f.network != nil {
		f.known = slices.Concat(f.known, onDisk)
	}
	if f.network != nil && isTrio {
		// Twice as often as the others, which happen on loopback as well.
		f.known = slices.Concat(f.known, onLinks, onLinks)
	}
	return f
}

// until does faults up to a moment, and leaves the cluster well.
func (f *injector) until(deadline time.Time) error {
	for time.Now().Before(deadline) {
		time.Sleep(calm.draw(f.random))
		fault := f.known[f.random.Intn(len(f.known))]
		node := f.random.Intn(len(f.endpoints()))
		if f.random.Float64() < leaderIsMeant {
			if leading := leader(f); leading >= 0 {
				node = leading
			}
		}
		// As the servers' logs have it.
		say("  %s %s, node %d", time.Now().UTC().Format("15:04:05.000"), fault.name, node)
		if err := fault.do(f, node); err != nil {
			return err
		}
		f.done[fault.name]++
		if f.random.Float64() < recoversFirst {
			if err := waitUntilWell(f); err != nil {
				return err
			}
		}
	}
	return waitUntilWell(f)
}

// between lets a fault last that has begun, and undoes it.
func (f *injector) between(begun error, undo func() error) error {
	if begun != nil {
		return begun
	}
	time.Sleep(away.draw(f.random))
	return undo()
}

func (f *injector) toOthers(node int, cut func(other int) error) error {
	for _, other := range f.others(node) {
		if err := cut(other); err != nil {
			return err
		}
	}
	return f.between(nil, f.network.heal)
}

func (f *injector) others(node int) (others []int) {
	for other := range f.endpoints() {
		if other != node {
			others = append(others, other)
		}
	}
	return others
}
