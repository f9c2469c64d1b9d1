/* >>net: addresses, name resolution off the loop, and the connection that never blocks. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#define LONGEST_WAIT_MS 20000

static int listener(int family, uint16_t *port, bool listening) {
    struct sockaddr_storage address;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    socklen_t length = family == AF_INET ? sizeof *v4 : sizeof *v6;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.ss_family = (sa_family_t)family;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_INET6) v6->sin6_addr = in6addr_loopback;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 ||
        (listening && listen(fd, 4) != 0) ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    *port = ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port);
    return fd;
}

/* Advances by waiting for what it wants, as the loop does; LEASE_TIMEOUT when that takes long. */
static lease_status connected(lease__net *net, lease_error *error) {
    const int64_t end = lease__boot_now().ms + LONGEST_WAIT_MS;
    while (lease__boot_now().ms < end) {
        int32_t want = 77;
        struct pollfd poller;
        const lease_status status = lease__net_advance(net, &want, error);
        if (status != LEASE_OK) return status;
        if (want == 0) return LEASE_OK;
        poller.fd = net->fd;
        poller.events = want == LEASE_IO_WANT_READ ? POLLIN : POLLOUT;
        poll(&poller, 1, 1000);
    }
    return LEASE_TIMEOUT;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

TEST(addresses_and_names_are_told_apart) {
    static const struct {
        const char *text;
        size_t bytes;
    } rows[] = {{"127.0.0.1", 4}, {"10.96.0.1", 4}, {"255.255.255.255", 4}, {"::1", 16},
                {"fd00::1234", 16}, {"::ffff:10.0.0.1", 16}, {"", 0}, {"localhost", 0},
                {"127.0.0.1 ", 0}, {"127.0.0", 0}, {"127.1", 0}, {"1", 0}, {"256.1.1.1", 0},
                {"010.0.0.1", 0}, {"0x7f.0.0.1", 0}, {"::1%lo", 0}, {"[::1]", 0}, {"1.2.3.4.5", 0},
                {":::1", 0}, {"kubernetes.default.svc", 0}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        unsigned char bytes[16];
        CASE("\"%s\"", rows[i].text);
        CHECK_INT(lease__ip_bytes(rows[i].text, bytes), rows[i].bytes);
    }
}

static void check_connects(const char *host, int family) {
    uint16_t port = 0;
    lease__net net;
    lease_error error;
    CASE("%s", host);
    const int before = open_descriptors();
    const int server = listener(family, &port, true);
    if (server < 0) return; /* this machine has no such addresses */
    CHECK_STATUS(lease__net_open(&net, host, port, &error), LEASE_OK);
    CHECK_STATUS(connected(&net, &error), LEASE_OK);
    CHECK_INT(net.state, LEASE__NET_CONNECTED);
    CHECK((fcntl(net.fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(net.fd, F_GETFD) & FD_CLOEXEC) != 0);
    const int peer = accept(server, NULL, NULL);
    char byte = 'x';
    CHECK_INT(send(net.fd, &byte, 1, 0), 1);
    CHECK_INT(recv(peer, &byte, 1, 0), 1);
    lease__net_close(&net);
    lease__net_close(&net); /* twice does not matter */
    CHECK_INT(recv(peer, &byte, 1, 0), 0);
    close(peer);
    close(server);
    CHECK_INT(open_descriptors(), before);
}

TEST(connects) {
    check_connects("127.0.0.1", AF_INET);
    check_connects("::1", AF_INET6);
    check_connects("localhost", AF_INET);
}

TEST(a_refused_connection_is_an_error_with_its_reason) {
    uint16_t port = 0;
    lease__net net;
    lease_error error;
    const int before = open_descriptors();
    const int bound = listener(AF_INET, &port, false);
    lease_status status = lease__net_open(&net, "127.0.0.1", port, &error);
    if (status == LEASE_OK) status = connected(&net, &error);
    CHECK_STATUS(status, LEASE_CONNECT);
    CHECK_INT(error.stage, LEASE_STAGE_CONNECT);
    CHECK_INT(error.sys_errno, ECONNREFUSED);
    CHECK(strstr(error.message, "refused") != NULL);
    lease__net_close(&net);
    close(bound);
    CHECK_INT(open_descriptors(), before);
}

TEST(the_next_address_is_tried) {
    uint16_t good = 0;
    uint16_t bad = 0;
    lease__net net;
    lease__addresses other;
    lease_error error;
    const int server = listener(AF_INET, &good, true);
    const int bound = listener(AF_INET, &bad, false);
    for (int position = 0; position < 2; position++) {
        CASE("the good one is number %d", position);
        memset(&net, 0, sizeof net);
        CHECK(lease__addresses_from_ip(&other, "127.0.0.1", good));
        CHECK(lease__addresses_from_ip(&net.addresses, "127.0.0.1", bad));
        if (position == 0) net.addresses.list[0] = other.list[0];
        else net.addresses.list[1] = other.list[0];
        net.addresses.lengths[1] = net.addresses.lengths[0];
        net.addresses.count = (size_t)position + 1;
        lease_status status = lease__net_connect_next(&net, &error);
        if (status == LEASE_OK) status = connected(&net, &error);
        CHECK_STATUS(status, LEASE_OK);
        const int peer = accept(server, NULL, NULL);
        CHECK(peer >= 0);
        close(peer);
        lease__net_close(&net);
    }
    close(server);
    close(bound);
}

TEST(a_name_that_does_not_resolve_is_an_error) {
    char name[128];
    lease__net net;
    lease_error error;
    memset(name, 'a', 70); /* a label has at most 63 letters: no resolver asks for it */
    memcpy(name + 70, ".invalid", sizeof ".invalid");
    const int before = open_descriptors();
    CHECK_STATUS(lease__net_open(&net, name, 443, &error), LEASE_OK);
    CHECK_INT(net.state, LEASE__NET_RESOLVING);
    CHECK_STATUS(connected(&net, &error), LEASE_RESOLVE);
    CHECK_INT(error.stage, LEASE_STAGE_CONNECT);
    CHECK(strstr(error.message, name) != NULL);
    lease__net_close(&net);
    CHECK_INT(open_descriptors(), before);
}

/* Nobody waits for a lookup: it may be abandoned at any time. */
TEST(a_lookup_can_be_abandoned) {
    const int before = open_descriptors();
    const int64_t end = lease__boot_now().ms + LONGEST_WAIT_MS;
    for (int i = 0; i < 20; i++) {
        lease__net net;
        lease_error error;
        CHECK_STATUS(lease__net_open(&net, "localhost", 443, &error), LEASE_OK);
        lease__net_close(&net);
    }
    while (open_descriptors() != before && lease__boot_now().ms < end) usleep(1000);
    CHECK_INT(open_descriptors(), before);
}

TEST(opening_does_not_wait) {
    lease__net net;
    lease_error error;
    const int64_t before = lease__boot_now().ms;
    /* 192.0.2.0/24 is for documentation: nobody answers, or the network is unreachable at once. */
    const lease_status status = lease__net_open(&net, "192.0.2.1", 443, &error);
    CHECK(status == LEASE_OK || status == LEASE_CONNECT);
    CHECK(lease__boot_now().ms - before < 1000);
    lease__net_close(&net);
}
