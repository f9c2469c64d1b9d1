package main

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	namespace    = "lease-test"
	accountName  = "lease"
	roleName     = "lease"
	certUser     = "lease-cert"
	certGroup    = "lease-users"
	tokenSeconds = 24 * 60 * 60
)

// createObjects makes the namespace, a service account and a group that may use Leases in it, and
// returns a token of the service account.
func createObjects(ctx context.Context, client kubernetes.Interface) (string, error) {
	create := metav1.CreateOptions{}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	_, err := client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: meta(namespace)}, create)
	if err != nil {
		return "", fmt.Errorf("namespace: %w", err)
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta(accountName)}, create)
	if err != nil {
		return "", fmt.Errorf("service account: %w", err)
	}
	_, err = client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{
		ObjectMeta: meta(roleName),
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"coordination.k8s.io"},
			Resources: []string{"leases"},
			Verbs:     []string{"get", "create", "update", "list", "watch"},
		}},
	}, create)
	if err != nil {
		return "", fmt.Errorf("role: %w", err)
	}
	_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta(roleName),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: roleName},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: accountName},
			{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: certGroup},
		},
	}, create)
	if err != nil {
		return "", fmt.Errorf("role binding: %w", err)
	}
	seconds := int64(tokenSeconds)
	request, err := accounts.CreateToken(ctx, accountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, create)
	if err != nil {
		return "", fmt.Errorf("token request: %w", err)
	}
	return request.Status.Token, nil
}
