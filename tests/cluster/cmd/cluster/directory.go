package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	configv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

func newKubeconfig(url string, caCert []byte, user configv1.AuthInfo) configv1.Config {
	return configv1.Config{
		Kind:       "Config",
		APIVersion: "v1",
		Clusters: []configv1.NamedCluster{{
			Name:    "lease",
			Cluster: configv1.Cluster{Server: url, CertificateAuthorityData: caCert},
		}},
		AuthInfos: []configv1.NamedAuthInfo{{Name: "lease", AuthInfo: user}},
		Contexts: []configv1.NamedContext{{
			Name:    "lease",
			Context: configv1.Context{Cluster: "lease", AuthInfo: "lease", Namespace: namespace},
		}},
		CurrentContext: "lease",
	}
}

// writeServerDirectory tells clients where the API is and who they may be: a pod's service account
// files, an administrator's token and kubeconfig, and a client certificate's kubeconfig.
func writeServerDirectory(dir, url, accountToken string, s *secrets) error {
	account := filepath.Join(dir, "serviceaccount")
	if err := os.MkdirAll(account, 0o755); err != nil {
		return err
	}
	admin := newKubeconfig(url, s.caCert, configv1.AuthInfo{Token: s.adminToken})
	adminJSON, err := json.MarshalIndent(admin, "", "  ")
	if err != nil {
		return err
	}
	adminYAML, err := yaml.Marshal(admin)
	if err != nil {
		return err
	}
	certificate := newKubeconfig(url, s.caCert, configv1.AuthInfo{
		ClientCertificateData: s.clientCert,
		ClientKeyData:         s.clientKey,
	})
	certificateJSON, err := json.MarshalIndent(certificate, "", "  ")
	if err != nil {
		return err
	}
	err = writeFiles(0o600, map[string][]byte{
		filepath.Join(account, "token"):            []byte(accountToken),
		filepath.Join(dir, "admin.token"):          []byte(s.adminToken),
		filepath.Join(dir, "kubeconfig.json"):      adminJSON,
		filepath.Join(dir, "kubeconfig.yaml"):      adminYAML,
		filepath.Join(dir, "kubeconfig-cert.json"): certificateJSON,
	})
	if err != nil {
		return err
	}
	return writeFiles(0o644, map[string][]byte{
		filepath.Join(account, "ca.crt"):    s.caCert,
		filepath.Join(account, "namespace"): []byte(namespace),
		filepath.Join(dir, "url"):           []byte(url + "\n"),
	})
}
