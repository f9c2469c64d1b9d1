// Elector is client-go's leader elector around a command: the candidate that others must get on
// with. It behaves as client-go does and repairs nothing: it gives the Lease back before the
// command has ended, and a frozen elector leaves its command running.
//
//	elector --kubeconfig FILE --lease NAME [options] -- COMMAND [ARG...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type options struct {
	kubeconfig, namespace, name, identity     string
	leaseDuration, renewDeadline, retryPeriod time.Duration
	command                                   []string
}

func parseOptions() (options, error) {
	var o options
	host, _ := os.Hostname()
	flag.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "path of the kubeconfig")
	flag.StringVar(&o.namespace, "namespace", "lease-test", "namespace of the Lease")
	flag.StringVar(&o.name, "lease", "", "name of the Lease")
	flag.StringVar(&o.identity, "identity", fmt.Sprintf("%s_%d", host, os.Getpid()), "holderIdentity")
	flag.DurationVar(&o.leaseDuration, "lease-duration", 15*time.Second, "as in client-go")
	flag.DurationVar(&o.renewDeadline, "renew-deadline", 10*time.Second, "as in client-go")
	flag.DurationVar(&o.retryPeriod, "retry-period", 2*time.Second, "as in client-go")
	flag.Parse()
	o.command = flag.Args()
	switch {
	case o.name == "":
		return o, fmt.Errorf("--lease is missing")
	case len(o.command) == 0:
		return o, fmt.Errorf("a command is missing after --")
	}
	return o, nil
}

// command runs COMMAND once per term.
type command struct {
	arguments []string
	running   sync.Mutex // held while COMMAND runs
}

// started is OnStartedLeading: runs COMMAND until it ends or ctx, the term, does.
func (c *command) started(ctx context.Context) {
	c.running.Lock()
	defer c.running.Unlock()
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started COMMAND ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.arguments[0], c.arguments[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "elector: %s: %v\n", c.arguments[0], err)
	}
}

// stopped is OnStoppedLeading: client-go has cancelled the term by now, which kills COMMAND.
func (c *command) stopped() {
	c.running.Lock()
	defer c.running.Unlock()
}

func newElector(o options) (*leaderelection.LeaderElector, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.Timeout = o.renewDeadline / 2 // as kube-controller-manager does
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	work := &command{arguments: o.command}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: o.namespace, Name: o.name},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: o.identity},
		},
		LeaseDuration:   o.leaseDuration,
		RenewDeadline:   o.renewDeadline,
		RetryPeriod:     o.retryPeriod,
		ReleaseOnCancel: true,
		Name:            o.name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: work.started,
			OnStoppedLeading: work.stopped,
		},
	})
}

func run() error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	elector, err := newElector(o)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for ctx.Err() == nil {
		elector.Run(ctx)
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "elector: %v\n", err)
		os.Exit(1)
	}
}
