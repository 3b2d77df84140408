// Etcd's robustness test on k8s-dqlite: etcd's own traffic, recording clients, model and validation, unmodified, with faults
// of ours on one node and on three. See scripts/robustness, which builds and runs it.

//go:debug randseednop=0
package main

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	noShell = "no dqlite shell: the database was not compared with what watches saw"
	// With faults; it ends a little later.
	roundLength = 12 * time.Second
	// A round also starts a cluster, ends it, and is judged.
	roundTakesAbout = 20 * time.Second
	// A round that hangs is ended, and is a finding.
	roundTakesAtMost = 10 * time.Minute
	// One node and three.
	leastRounds = 2
)

// The programs that are used.
type programs struct {
	root   string
	server string
	isEtcd bool
	// The dqlite shell; empty if there is none.
	shell string
	// The directory of the certificate that nodes share.
	pair string
	// Empty is by chance.
	traffic string
	running *running
}

// running is the cluster that has to be ended when this program is.
type running struct {
	mutex   sync.Mutex
	cluster cluster
}

func (r *running) set(c cluster) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.cluster = c
}

func (r *running) close() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.cluster != nil {
		r.cluster.close()
	}
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "robustness: "+format+"\n", arguments...)
}

func fail(format string, arguments ...any) {
	say("error: "+format, arguments...)
	os.Exit(2)
}

func main() {
	minutes := flag.Float64("minutes", 2, "how long")
	seed := flag.Int64("seed", 0, "chooses traffic and faults")
	root := flag.String("root", ".", "the repository")
	server := flag.String("server", "", "the server's binary")
	isEtcd := flag.Bool("etcd", false, "the server is an etcd: one node on loopback")
	shell := flag.String("shell", "", "the dqlite shell")
	dir := flag.String("dir", "", "an empty directory for data, logs and what is found")
	traffic := flag.String("traffic", "", "always this traffic")
	again := flag.String("judge", "", "judge what a round left in this directory once more")
	flag.Parse()
	if *again != "" {
		os.Exit(judgeAgain(*again))
	}
	p := programs{root: *root, server: *server, isEtcd: *isEtcd, shell: *shell, running: &running{}, traffic: *traffic}
	if _, found := traffics[p.traffic]; p.traffic != "" && !found {
		fail("there is no traffic %s, but %s", p.traffic, strings.Join(sortedKeys(traffics), ", "))
	}
	if !p.isEtcd {
		p.pair = filepath.Join(*dir, "pair")
		if output, err := exec.Command(filepath.Join(*root, "scripts", "certs"), p.pair).CombinedOutput(); err != nil {
			fail("scripts/certs: %v: %s", err, output)
		}
	}
	os.Exit(runAll(p, *dir, *seed, time.Duration(*minutes*float64(time.Minute))))
}

func runAll(p programs, dir string, seed int64, total time.Duration) int {
	// What etcd's traffic draws from.
	rand.Seed(seed)
	random := rand.New(rand.NewSource(seed))
	order := drawOrder(random)
	network := !p.isEtcd && canHaveNamespaces()
	say("seed %d repeats requests and faults, not what falls together", seed)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	var sum totals
	sum.faults = map[string]int{}
	if !network && !p.isEtcd {
		sum.note("no root, or no network namespaces: links were not cut, and disks not filled")
	}
	begin := time.Now()
	for number := 1; number <= leastRounds || time.Since(begin)+roundTakesAbout < total; number++ {
		plan := draw(number, p, network, order, random)
		home := filepath.Join(dir, fmt.Sprintf("round-%d", number))
		if err := os.MkdirAll(home, 0o700); err != nil {
			fail("%v", err)
		}
		say("round %d: %s", number, plan)
		done := make(chan result, 1)
		go func() { done <- plan.run(p, home) }()
		select {
		case r := <-done:
			sum.add(plan, r, home)
		case <-time.After(roundTakesAtMost):
			p.running.close()
			sum.add(plan, result{findings: []string{fmt.Sprintf("the round hangs for %v", roundTakesAtMost)}}, home)
			return sum.print(seed, dir, time.Since(begin))
		case <-interrupted:
			p.running.close()
			fail("interrupted")
		}
	}
	return sum.print(seed, dir, time.Since(begin))
}

// drawOrder mixes the kinds of traffic. Five rounds, an odd number, go through all of it, and ten on one node and on three.
func drawOrder(random *rand.Rand) []string {
	order := []string{"Kubernetes", "Kubernetes", "Kubernetes", "EtcdPut", "EtcdPutDeleteLease"}
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// draw makes the plan of a round: one node and three in turns.
func draw(number int, p programs, network bool, order []string, random *rand.Rand) plan {
	plan := plan{
		number: number, nodes: 1, length: roundLength, random: rand.New(rand.NewSource(random.Int63())),
	}
	if number%2 == 0 && !p.isEtcd {
		plan.nodes = nodesOfTrio
	}
	// Most of three nodes are on links that can be cut, and some of one on a disk that fills.
	chance := 0.3
	if plan.nodes > 1 {
		chance = 0.7
	}
	plan.inNetwork = random.Float64() < chance && network
	plan.traffic = order[(number-1)%len(order)]
	if p.traffic != "" {
		plan.traffic = p.traffic
	}
	plan.compaction = random.Float64() < 0.5 && plan.traffic == "Kubernetes"
	return plan
}

func (p plan) String() string {
	text := fmt.Sprintf("%d node, %s", p.nodes, p.traffic)
	if p.nodes > 1 {
		text = fmt.Sprintf("%d nodes, %s", p.nodes, p.traffic)
	}
	if p.inNetwork {
		text += ", network namespaces"
	}
	if p.compaction {
		text += ", compaction"
	}
	return text
}
