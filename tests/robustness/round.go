package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/tests/v3/robustness/client"
	"go.etcd.io/etcd/tests/v3/robustness/identity"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
	"go.etcd.io/etcd/tests/v3/robustness/traffic"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	// Two cores share the server, the clients and other work; with the length of a round this also bounds its operations.
	requestsPerSecond = 200
	// etcd's 200 ms are for a machine of its own: where three nodes, clients and other work share two cores, most requests
	// would have no answer in time, and little would be written.
	requestTakesAtMost = 500 * time.Millisecond
	// After a fault a write takes seconds. The logs of a round that had none for longer are kept, so that they can be looked at.
	silenceIsOdd = 30 * time.Second
	// A round with fewer revisions judges nothing.
	leastRevisions = 100
	// Clients whose requests hang end within this when the cluster is well again.
	clientsEndWithin = 60 * time.Second
	// Kubernetes compacts to what it saw one period ago, so the collector is never that late.
	compactionPeriod = 3 * time.Second
)

// What a round is like, apart from chance.
type plan struct {
	number     int
	nodes      int
	inNetwork  bool
	traffic    string
	compaction bool
	length     time.Duration
	random     *rand.Rand
}

var traffics = map[string]traffic.Traffic{
	"Kubernetes":         traffic.Kubernetes,
	"EtcdPutDeleteLease": traffic.EtcdPutDeleteLease,
	"EtcdPut":            traffic.EtcdPut,
}

// What came of a round.
type result struct {
	operations, unknown, watches, events int
	revisions                            int64
	faults                               map[string]int
	restarts                             int
	silence                              time.Duration
	notes                                []string
	findings                             []string
	// Not judged.
	skipped bool
}

func (r *result) isOddlySilent() bool { return r.silence > silenceIsOdd }

func (r *result) find(what string, err error) {
	if err != nil {
		r.findings = append(r.findings, what+": "+err.Error())
	}
}

// run does a round in a directory of its own.
func (p plan) run(programs programs, dir string) (r result) {
	var c cluster
	var err error
	if p.inNetwork {
		c, err = startNamespaces(dir, p.nodes, programs)
	} else {
		c, err = startLoopback(dir, p.nodes, programs)
	}
	if err != nil {
		r.find("starting the nodes", err)
		return r
	}
	defer c.close()
	programs.running.set(c)
	if err := waitUntilAllVote(c); err != nil {
		r.find("the nodes become a cluster", err)
		return r
	}
	logger, err := fileLogger(filepath.Join(dir, "validation.log"))
	if err != nil {
		r.find("the log", err)
		return r
	}
	defer logger.Sync()
	unique := traffics[p.traffic].ExpectUniqueRevision()
	reports, h, err := p.load(c, logger, &r)
	// What else is wrong follows from that.
	if err != nil {
		r.find("the round", err)
	} else {
		p.checkEnd(c, programs, h, &r)
	}
	r.findings = append(r.findings, checkLogs(c.logs())...)
	if err == nil {
		judgeReports(logger, dir, h, reports, unique, &r)
	}
	if len(r.findings) > 0 || r.isOddlySilent() {
		r.find("keeping the history", keep(logger, dir, c, h, reports, unique))
	}
	return r
}

func fileLogger(path string) (*zap.Logger, error) {
	config := zap.NewDevelopmentConfig()
	config.OutputPaths = []string{path}
	config.DisableStacktrace = true
	return config.Build()
}

// load lets clients work while faults happen, and returns what they and the collector saw.
func (p plan) load(c cluster, logger *zap.Logger, r *result) ([]report.ClientReport, *history, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ids := identity.NewIDProvider()
	begin := time.Now()
	set := client.NewSet(ids, begin)
	defer set.Close()
	watchers := client.NewSet(ids, begin)
	defer watchers.Close()
	if err := traffic.CheckEmptyDatabaseAtStart(ctx, logger, c.endpoints(), set); err != nil {
		return nil, nil, err
	}
	collected, err := startCollector(c.endpoints())
	if err != nil {
		return nil, nil, err
	}
	defer collected.cancel()
	var clients sync.WaitGroup
	finish := make(chan struct{})
	endClients := sync.OnceFunc(func() { close(finish) })
	defer endClients()
	if err := p.startClients(ctx, c, set, &clients, finish, logger); err != nil {
		return nil, nil, err
	}
	lastRevision := make(chan int64, 1)
	watched := make(chan error, 1)
	go func() {
		watched <- client.CollectClusterWatchEvents(ctx, client.CollectClusterWatchEventsParam{
			Lg: logger, Endpoints: c.endpoints(), MaxRevisionChan: lastRevision, ClientSet: watchers,
		})
	}()

	err = p.disturb(c, r, &clients, endClients)
	if err == nil {
		err = lastWrite(c, set)
	}
	if err != nil {
		// What was seen until then is kept.
		endClients()
		cancel()
		waitAtMost(&clients, clientsEndWithin)
		collected.cancel()
		collected.group.Wait()
		return set.Reports(), collected.history, err
	}
	reports := set.Reports()
	last := report.OperationsMaxRevision(reports)
	lastRevision <- last
	close(lastRevision)
	select {
	case err = <-watched:
	case <-time.After(clientsEndWithin):
		err = fmt.Errorf("watches do not get to revision %d within %v", last, clientsEndWithin)
		cancel()
	}
	h, findings := collected.stop(c.endpoints(), last)
	if len(findings) > 0 {
		r.findings = append(r.findings, "watches of all keys: "+firstOf(findings))
	}
	reports = append(reports, watchers.Reports()...)
	r.count(reports, h)
	return reports, h, err
}

// disturb does faults for the length of the round, and then lets the clients end.
func (p plan) disturb(c cluster, r *result, clients *sync.WaitGroup, endClients func()) error {
	faults := newInjector(c, p.random)
	supervisor := supervise(c)
	err := faults.until(time.Now().Add(p.length))
	r.faults = faults.done
	if err := errors.Join(err, supervisor()); err != nil {
		return err
	}
	endClients()
	if !waitAtMost(clients, clientsEndWithin) {
		return fmt.Errorf("requests hang for more than %v on a cluster that is well", clientsEndWithin)
	}
	return nil
}

func (p plan) startClients(
	ctx context.Context, c cluster, set *client.ClientSet, group *sync.WaitGroup, finish chan struct{}, logger *zap.Logger,
) error {
	traffic.RequestTimeout = requestTakesAtMost
	profile := traffic.KeyValueMedium
	watch := traffic.WatchDefault
	limiter := rate.NewLimiter(requestsPerSecond, requestsPerSecond)
	keys := traffic.NewKeyStore(10, "key")
	storage := traffic.NewKubernetesStorage()
	kind := traffics[p.traffic]
	err := traffic.SimulateKeyValueTraffic(ctx, group, &profile, c.endpoints(), set, kind, traffic.RunTrafficLoopParam{
		QPSLimiter: limiter, IDs: set.IdentityProvider(), LeaseIDStorage: identity.NewLeaseIDStorage(),
		NonUniqueRequestConcurrencyLimiter: traffic.NewConcurrencyLimiter(profile.MaxNonUniqueRequestConcurrency),
		KeyStore:                           keys, Storage: storage, Finish: finish,
	})
	if err != nil {
		return err
	}
	err = traffic.SimulateWatchTraffic(ctx, group, &watch, c.endpoints(), set, kind, traffic.RunWatchLoopParam{
		Config: watch, QPSLimiter: limiter, KeyStore: keys, Storage: storage, Finish: finish, Logger: logger,
	})
	if err != nil || !p.compaction {
		return err
	}
	compaction := traffic.Compaction{Period: compactionPeriod}
	return traffic.SimulateCompactionTraffic(ctx, group, &compaction, c.endpoints(), set, kind,
		traffic.RunCompactLoopParam{Period: compaction.Period, Finish: finish})
}

// supervise starts nodes that end by themselves, until the function that it returns is called.
func supervise(c cluster) func() error {
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(betweenLooks):
			}
			if err := c.restartEnded(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error {
		close(stop)
		return <-ended
	}
}

func waitAtMost(group *sync.WaitGroup, limit time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// lastWrite succeeds: the validation needs to know where the history ends.
func lastWrite(c cluster, set *client.ClientSet) error {
	last, err := set.NewClient(c.endpoints())
	if err != nil {
		return err
	}
	return waitUntil(recoveryTakesAtMost, "a last write", func(ctx context.Context) error {
		_, err := last.Put(ctx, "tombstone", "true")
		return err
	})
}

func (r *result) count(reports []report.ClientReport, h *history) {
	r.revisions = h.last
	if r.revisions < leastRevisions {
		r.notes = append(r.notes, "little was written in a round, which says little: this machine is slow, or has much to do")
	}
	var previous, longest int64
	var written []int64
	for _, one := range reports {
		r.operations += len(one.KeyValue)
		r.watches += len(one.Watch)
		r.events += one.WatchEventCount()
		for _, operation := range one.KeyValue {
			request := operation.Input.(model.EtcdRequest)
			response := operation.Output.(model.MaybeEtcdResponse)
			switch {
			case request.IsRead() || isRefusal(response):
			case response.Error != "":
				r.unknown++
			default:
				written = append(written, operation.Return)
			}
		}
	}
	slices.Sort(written)
	for _, moment := range written {
		if previous > 0 {
			longest = max(longest, moment-previous)
		}
		previous = moment
	}
	r.silence = time.Duration(longest)
}

// checkEnd looks at the cluster when all is quiet: equal data on all nodes, the database, and a clean stop.
func (p plan) checkEnd(c cluster, programs programs, h *history, r *result) {
	r.find("the nodes", checkHashes(c, h.last))
	if arguments := c.shellArguments(); arguments != nil {
		if programs.shell == "" {
			r.notes = append(r.notes, noShell)
		} else {
			r.find("the database", checkTable(programs.shell, arguments, h))
		}
	}
	for node := range c.endpoints() {
		r.find("the end", c.stop(node))
	}
	switch kind := c.(type) {
	case *loopback:
		r.restarts = kind.restarts
	case *namespaces:
		r.restarts = kind.restarts
	}
}
