// Cluster is the smallest real Kubernetes API: one etcd and one kube-apiserver on loopback with a
// namespace, a service account that may use Leases there, and a folder that tells a client how to
// reach them (the "server directory").
//
//	cluster --dir FOLDER              fill FOLDER, print the URL, then run until TERM or INT
//	cluster -- COMMAND [ARG...]       run COMMAND with LEASE_SERVER_DIR set, then end with its status
//
// In the end, also when the parent dies, it kills both servers and removes their data, and what
// COMMAND has left running is killed too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The kernel ties both "my parent died" and "my child's parent died" to a thread. Staying on the
// first one makes that thread last as long as the process.
func init() {
	runtime.LockOSThread()
}

type options struct {
	dir, bin string
	command  []string
}

func parseOptions() (o options, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	flag.StringVar(&o.dir, "dir", "", "the server directory; with a COMMAND a temporary one")
	flag.StringVar(&o.bin, "bin", filepath.Dir(self), "the folder of etcd and kube-apiserver")
	flag.Parse()
	o.command = flag.Args()
	if o.dir == "" && len(o.command) == 0 {
		return o, errors.New("usage: cluster --dir FOLDER | cluster [--dir FOLDER] -- COMMAND")
	}
	if o.dir != "" {
		o.dir, err = filepath.Abs(o.dir)
	}
	return o, err
}

// endWithParent has the kernel send TERM when the parent dies, also when it already has.
func endWithParent() error {
	parent := os.Getppid()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_PDEATHSIG: %w", err)
	}
	if os.Getppid() != parent {
		return errors.New("the parent has ended")
	}
	return nil
}

// serve runs the servers in dir, which exists, until ctx or the command ends.
func serve(ctx context.Context, o options, dir string) (status int, err error) {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return 1, err
	}
	defer os.RemoveAll(data)
	secrets, err := makeSecrets(data)
	if err != nil {
		return 1, err
	}
	servers, err := startServers(ctx, o.bin, dir, secrets)
	if err != nil {
		return 1, err
	}
	defer servers.kill()
	token, err := createObjects(ctx, servers.client)
	if err != nil {
		return 1, err
	}
	if err := writeServerDirectory(dir, servers.url, token, secrets); err != nil {
		return 1, err
	}
	pidFile := filepath.Join(dir, "pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return 1, err
	}
	defer os.Remove(pidFile)
	if len(o.command) > 0 {
		return runCommand(ctx, servers, o, dir)
	}
	fmt.Println(servers.url)
	return 0, servers.wait(ctx)
}

func run() (status int, err error) {
	o, err := parseOptions()
	if err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := endWithParent(); err != nil {
		return 1, err
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "lease-cluster-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return 1, err
	}
	status, err = serve(ctx, o, dir)
	if ctx.Err() != nil && len(o.command) == 0 {
		return 0, nil // being told to end is how it ends
	}
	return status, err
}

func main() {
	status, err := run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		status = max(status, 1)
	}
	os.Exit(status)
}
