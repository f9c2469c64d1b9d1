package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	readyLimit    = 2 * time.Minute // a busy machine starts both in ten seconds
	readyInterval = 50 * time.Millisecond
	logTailBytes  = 2000
	startAttempts = 3 // a free port may be taken before its server gets to it
)

// server is one child process and its log.
type server struct {
	name, log string
	cmd       *exec.Cmd
	ended     chan struct{} // closed when the process is gone
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.ended
}

// failure tells how the process ended, and shows the end of its log: the folder may be temporary.
func (s *server) failure() error {
	log, err := os.ReadFile(s.log)
	if err != nil {
		log = []byte(err.Error())
	}
	tail := log[max(0, len(log)-logTailBytes):]
	return fmt.Errorf("%s ended by itself (%v):\n%s", s.name, s.cmd.ProcessState, tail)
}

// startServer runs a child in a process group of its own, so that Ctrl-C does not reach it before
// its parent, and has the kernel kill it should this process be killed.
func startServer(folder, logFolder, name string, arguments ...string) (*server, error) {
	path := filepath.Join(logFolder, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(folder, name), arguments...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: name, log: path, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // failure() tells how it ended
		close(s.ended)
	}()
	return s, nil
}

// freePorts asks for all ports before it gives any back, so that they differ.
func freePorts(count int) ([]int, error) {
	ports := make([]int, count)
	for i := range ports {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// servers is etcd and the kube-apiserver on top of it.
type servers struct {
	etcd, api *server
	url       string
	client    kubernetes.Interface // as the administrator
}

func (s *servers) kill() {
	s.api.kill()
	s.etcd.kill()
}

// wait returns when ctx ends, or with an error when a server does.
func (s *servers) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.etcd.ended:
		return s.etcd.failure()
	case <-s.api.ended:
		return s.api.failure()
	}
}

func etcdArguments(data string, clientPort, peerPort int) []string {
	client := fmt.Sprintf("http://127.0.0.1:%d", clientPort)
	peer := fmt.Sprintf("http://127.0.0.1:%d", peerPort)
	return []string{
		"--name=etcd", "--data-dir=" + data,
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=etcd=" + peer,
		"--unsafe-no-fsync", "--log-level=error",
	}
}

func apiArguments(etcdPort, port int, s *secrets) []string {
	return []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcdPort),
		fmt.Sprintf("--secure-port=%d", port),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24",
		"--tls-cert-file=" + s.serverCertFile, "--tls-private-key-file=" + s.serverKeyFile,
		"--client-ca-file=" + s.caFile, "--token-auth-file=" + s.tokenFile,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + s.accountKeyFile,
		"--service-account-signing-key-file=" + s.accountKeyFile,
	}
}

// startOnce starts both servers on free ports and does not wait for them.
func startOnce(bin, dir string, s *secrets) (*servers, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(filepath.Dir(s.caFile), "etcd-")
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            url,
		BearerToken:     s.adminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.caCert},
		Timeout:         10 * time.Second,
		QPS:             -1,
	})
	if err != nil {
		return nil, err
	}
	etcd, err := startServer(bin, dir, "etcd", etcdArguments(data, ports[0], ports[1])...)
	if err != nil {
		return nil, err
	}
	arguments := apiArguments(ports[0], ports[2], s)
	api, err := startServer(bin, dir, "kube-apiserver", arguments...)
	if err != nil {
		etcd.kill()
		return nil, err
	}
	return &servers{etcd: etcd, api: api, url: url, client: client}, nil
}

var errNotReady = errors.New("etcd and kube-apiserver did not become ready in time")

// waitReady asks /readyz until it agrees, and gives up when a server ends.
func (s *servers) waitReady(ctx context.Context) error {
	limit := time.After(readyLimit)
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	api := s.client.Discovery().RESTClient()
	for api.Get().AbsPath("/readyz").Do(ctx).Error() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return errNotReady
		case <-s.etcd.ended:
			return s.etcd.failure()
		case <-s.api.ended:
			return s.api.failure()
		case <-tick.C:
		}
	}
	return nil
}

// startServers returns when the API answers. A server that ends by itself gets another chance on
// other ports.
func startServers(ctx context.Context, bin, dir string, s *secrets) (*servers, error) {
	var last error
	for range startAttempts {
		started, err := startOnce(bin, dir, s)
		if err != nil {
			return nil, err
		}
		if last = started.waitReady(ctx); last == nil {
			return started, nil
		}
		started.kill()
		if ctx.Err() != nil || errors.Is(last, errNotReady) {
			break
		}
	}
	return nil, last
}
