package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// secrets is what servers and clients prove themselves with. The servers read files.
type secrets struct {
	caFile, serverCertFile, serverKeyFile, accountKeyFile, tokenFile string
	caCert, clientCert, clientKey                                    []byte // PEM
	adminToken                                                       string
}

// authority is a certificate authority of one run.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-time.Hour), // clients in containers may be a little behind
		NotAfter:              now.Add(7 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, nil
}

func newAuthority() (*authority, error) {
	template, err := newTemplate(pkix.Name{CommonName: "lease.h test cluster"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage |= x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: encodeCert(der)}, nil
}

// issue signs template and returns the certificate and its key as PEM.
func (a *authority) issue(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return encodeCert(der), key, err
}

func (a *authority) issueServer() (cert, key []byte, err error) {
	template, err := newTemplate(pkix.Name{CommonName: "kube-apiserver"})
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.DNSNames = []string{"kubernetes.default.svc", "localhost"}
	return a.issue(template)
}

// issueClient names a user and a group: Kubernetes reads them from CN and O.
func (a *authority) issueClient(user, group string) (cert, key []byte, err error) {
	template, err := newTemplate(pkix.Name{CommonName: user, Organization: []string{group}})
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(template)
}

func newToken() (string, error) {
	var bytes [32]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(bytes[:]), nil
}

// makeSecrets makes everything anew and leaves in folder what the servers read.
func makeSecrets(folder string) (*secrets, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	serverCert, serverKey, err := ca.issueServer()
	if err != nil {
		return nil, err
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	accountKeyPEM, err := encodeKey(accountKey)
	if err != nil {
		return nil, err
	}
	s := &secrets{
		caFile:         filepath.Join(folder, "ca.crt"),
		serverCertFile: filepath.Join(folder, "server.crt"),
		serverKeyFile:  filepath.Join(folder, "server.key"),
		accountKeyFile: filepath.Join(folder, "account.key"),
		tokenFile:      filepath.Join(folder, "tokens.csv"),
		caCert:         ca.pem,
	}
	if s.clientCert, s.clientKey, err = ca.issueClient(certUser, certGroup); err != nil {
		return nil, err
	}
	if s.adminToken, err = newToken(); err != nil {
		return nil, err
	}
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", s.adminToken)
	return s, writeFiles(0o600, map[string][]byte{
		s.caFile:         s.caCert,
		s.serverCertFile: serverCert,
		s.serverKeyFile:  serverKey,
		s.accountKeyFile: accountKeyPEM,
		s.tokenFile:      []byte(tokens),
	})
}

func writeFiles(mode os.FileMode, files map[string][]byte) error {
	for path, content := range files {
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
	}
	return nil
}
