package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/engine"
)

// certificate returns PEM texts of a certificate and its key.
func certificate(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// dialTLS is dial for a server with TLS; it returns the certificate's number too.
func (s *testServer) dialTLS() (*client, int64) {
	s.t.Helper()
	raw := s.dial()
	conn := tls.Client(raw.conn, &tls.Config{InsecureSkipVerify: true}) // the certificate is compared by number
	if err := conn.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	return &client{s.t, conn, bufio.NewReader(conn)}, conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t, 1)
	certPath, keyPath := file(t, "cert.pem", cert), file(t, "key.pem", key)
	s := serve(t, &fakeWorker{}, func(c *Config) { c.TLSCert, c.TLSKey = certPath, keyPath })
	conn, number := s.dialTLS()
	for _, body := range []string{plainBody, eventBody, plainBody} {
		if res, text := conn.do(post(chatPath, body)); res.StatusCode != 200 || !strings.Contains(text, "é☺") || number != 1 {
			t.Errorf("status %d, certificate %d, body %s", res.StatusCode, number, text)
		}
	}
	// A certificate without its key, and then with it.
	cert, key = certificate(t, 2)
	replace(t, certPath, cert)
	s.Reload()
	if _, number := s.dialTLS(); number != 1 || !strings.Contains(s.log.String(), "is not used") {
		t.Errorf("certificate %d", number)
	}
	replace(t, keyPath, key)
	s.Reload()
	if _, number := s.dialTLS(); number != 2 {
		t.Errorf("certificate %d, want the new one", number)
	}
	// The first connection lives on.
	if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	// Plain HTTP is not answered in kind.
	plain := s.dial()
	plain.send(get("/health"))
	if text, _ := io.ReadAll(plain.r); strings.Contains(string(text), " 200 ") {
		t.Errorf("plain HTTP got %q", text)
	}
}

func TestTLSFiles(t *testing.T) {
	cert, key := certificate(t, 1)
	_, other := certificate(t, 2)
	certPath := file(t, "cert.pem", cert)
	for _, c := range []Config{
		{TLSCert: certPath},
		{TLSKey: file(t, "key.pem", key)},
		{TLSCert: certPath, TLSKey: file(t, "key.pem", other)},
		{TLSCert: certPath, TLSKey: certPath + "x"},
		{TLSCert: file(t, "cert.pem", "nonsense"), TLSKey: file(t, "key.pem", key)},
	} {
		c.Worker = &fakeWorker{}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("New with %s and %s: %v", c.TLSCert, c.TLSKey, err)
		}
	}
	if _, err := os.Stat(certPath); err != nil {
		t.Fatal(err)
	}
}

// TestClientLeavesTLS has clients leave that the watch must see below TLS.
func TestClientLeavesTLS(t *testing.T) {
	cert, key := certificate(t, 1)
	certPath, keyPath := file(t, "cert.pem", cert), file(t, "key.pem", key)
	for _, how := range []string{"close", "cut"} {
		for _, body := range []string{plainBody, eventBody} {
			w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
			s := serve(t, w, func(c *Config) { c.TLSCert, c.TLSKey = certPath, keyPath })
			conn, _ := s.dialTLS()
			conn.send(post(chatPath, body))
			stream := wait(t, w.started)
			if stream.ctx.Err() != nil {
				t.Fatalf("cancelled with the client there: %v", context.Cause(stream.ctx))
			}
			if how == "close" {
				conn.conn.Close() // says so first
			} else {
				conn.conn.(*tls.Conn).NetConn().Close()
			}
			wait(t, stream.ctx.Done())
			wait(t, stream.closed)
		}
	}
}
