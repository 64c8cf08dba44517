// SPDX-License-Identifier: Apache-2.0

// Streamclient speaks to a streaming URL with the libraries that kubectl and the kubelet use, and prints what
// came out as JSON, one line a session in the order of the URLs:
//
//	streamclient exec    [-transport spdy|websocket] [-stdin BYTES] [-tty] [-cancel-ms MS] URL...
//	streamclient forward [-transport spdy|websocket] [-port PORT] [-bytes N] [-connections K] URL...
//
// The URLs are served at once. exec sends BYTES pseudo-random bytes and ends stdin; forward sends N bytes over
// each of K connections, ends them, and reads what comes back. Nothing is judged here: the caller compares.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// Outcome is what one session came to.
type Outcome struct {
	SentSHA256     string   `json:"sentSHA256,omitempty"`
	ReceivedSHA256 []string `json:"receivedSHA256,omitempty"`
	ReceivedBytes  int64    `json:"receivedBytes"`
	Stderr         string   `json:"stderr,omitempty"`
	ExitCode       int      `json:"exitCode"`
	Error          string   `json:"error,omitempty"`
	FirstByteMs    float64  `json:"firstByteMs,omitempty"`
	Ms             float64  `json:"ms"`
}

type options struct {
	transport   string
	stdin       int64
	tty         bool
	cancelMs    int
	port        int
	bytes       int64
	connections int
}

// sum counts and hashes what is written, and remembers when the first byte came.
type sum struct {
	mu    sync.Mutex
	hash  hash.Hash
	bytes int64
	first time.Time
}

func newSum() *sum { return &sum{hash: sha256.New()} }

func (s *sum) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == 0 && len(p) > 0 {
		s.first = time.Now()
	}
	s.bytes += int64(len(p))
	return s.hash.Write(p)
}

func (s *sum) hex() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// noise is n pseudo-random bytes, the same for the same seed.
func noise(n, seed int64) io.Reader { return io.LimitReader(rand.New(rand.NewSource(seed)), n) }

func config() *rest.Config {
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

func executor(o options, target *url.URL) (remotecommand.Executor, error) {
	if o.transport == "websocket" {
		return remotecommand.NewWebSocketExecutor(config(), http.MethodGet, target.String())
	}
	return remotecommand.NewSPDYExecutor(config(), http.MethodPost, target)
}

func runExec(o options, target *url.URL, seed int64) (out Outcome) {
	began := time.Now()
	defer func() { out.Ms = float64(time.Since(began).Microseconds()) / 1000 }()
	ctx := context.Background()
	if o.cancelMs > 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(o.cancelMs)*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	executor, err := executor(o, target)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	sent, received, stderr := newSum(), newSum(), &limited{}
	streams := remotecommand.StreamOptions{Stdout: received, Tty: o.tty}
	if o.stdin >= 0 {
		streams.Stdin = io.TeeReader(noise(o.stdin, seed), sent)
	}
	if !o.tty {
		streams.Stderr = stderr
	}
	err = executor.StreamWithContext(ctx, streams)
	var code exec.CodeExitError
	switch {
	case errors.As(err, &code):
		out.ExitCode = code.Code
	case err != nil:
		out.Error = err.Error()
	}
	out.SentSHA256 = sent.hex()
	out.ReceivedSHA256 = []string{received.hex()}
	out.ReceivedBytes = received.bytes
	out.Stderr = stderr.text()
	if !received.first.IsZero() {
		out.FirstByteMs = float64(received.first.Sub(began).Microseconds()) / 1000
	}
	return out
}

// limited keeps the beginning of what is written.
type limited struct {
	mu   sync.Mutex
	kept []byte
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 4096 - len(l.kept); room > 0 {
		l.kept = append(l.kept, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (l *limited) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept)
}

func dialer(o options, target *url.URL) (httpstream.Dialer, error) {
	if o.transport == "websocket" {
		return portforward.NewSPDYOverWebsocketDialer(target, config())
	}
	transport, upgrader, err := spdy.RoundTripperFor(config())
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target), nil
}

func runForward(o options, target *url.URL, seed int64) (out Outcome) {
	began := time.Now()
	defer func() { out.Ms = float64(time.Since(began).Microseconds()) / 1000 }()
	dial, err := dialer(o, target)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	said := &limited{}
	ports := []string{fmt.Sprintf("0:%d", o.port)}
	forwarder, err := portforward.NewOnAddresses(dial, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, said)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		out.Error = fmt.Sprint(err)
		return out
	case <-ready:
	}
	local, err := forwarder.GetPorts()
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.ReceivedSHA256 = make([]string, o.connections)
	sums := make([]*sum, o.connections)
	var all sync.WaitGroup
	for i := range o.connections {
		all.Go(func() {
			sums[i] = newSum()
			if err := echo(int(local[0].Local), noise(o.bytes, seed), sums[i]); err != nil {
				out.ReceivedSHA256[i] = "error: " + err.Error()
			} else {
				out.ReceivedSHA256[i] = sums[i].hex()
			}
		})
	}
	all.Wait()
	sent := newSum()
	_, _ = io.Copy(sent, noise(o.bytes, seed))
	out.SentSHA256 = sent.hex()
	for _, s := range sums {
		out.ReceivedBytes += s.bytes
	}
	close(stop)
	<-ended
	out.Stderr = said.text()
	return out
}

func echo(port int, from io.Reader, into io.Writer) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer conn.Close()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, from)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		wrote <- err
	}()
	if _, err := io.Copy(into, conn); err != nil {
		return err
	}
	return <-wrote
}

func main() {
	var o options
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: streamclient exec|forward [options] URL...")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.transport, "transport", "spdy", "spdy or websocket")
	flags.Int64Var(&o.stdin, "stdin", -1, "bytes for stdin; -1: no stdin")
	flags.BoolVar(&o.tty, "tty", false, "a terminal")
	flags.IntVar(&o.cancelMs, "cancel-ms", 0, "give up after so long")
	flags.IntVar(&o.port, "port", 80, "the port in the pod")
	flags.Int64Var(&o.bytes, "bytes", 0, "bytes over each connection")
	flags.IntVar(&o.connections, "connections", 1, "connections of each session")
	_ = flags.Parse(os.Args[2:])
	run := map[string]func(options, *url.URL, int64) Outcome{"exec": runExec, "forward": runForward}[os.Args[1]]
	if run == nil || flags.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: streamclient exec|forward [options] URL...")
		os.Exit(2)
	}
	outcomes := make([]Outcome, flags.NArg())
	var all sync.WaitGroup
	for i, text := range flags.Args() {
		target, err := url.Parse(text)
		if err != nil {
			outcomes[i].Error = err.Error()
			continue
		}
		all.Go(func() { outcomes[i] = run(o, target, int64(i+1)) })
	}
	all.Wait()
	encoder := json.NewEncoder(os.Stdout)
	for _, outcome := range outcomes {
		_ = encoder.Encode(outcome)
	}
}
