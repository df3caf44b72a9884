package server

import (
	"crypto/tls"
	"fmt"
)

// readCert reads a certificate and its key.
func readCert(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("server: TLS: %s and %s: %w", cert, key, err)
	}
	return &pair, nil
}

// tlsConfig has each handshake use the certificate as it is then. HTTP/2 is not
// offered: the HTTP library has none.
func tlsConfig(cert *reloaded[*tls.Certificate]) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil },
	}
}
