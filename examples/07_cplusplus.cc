/* 07_cplusplus.cc -- the same in C++17: leadership as an object, and no thread of your own.
 *
 * The wrapper below is all that there is to it: it owns the client and the lease, throws what the
 * library reports, calls a function of yours at each event, and gives the Lease back when it goes
 * out of scope, so let that be after the work has stopped. Leads for three seconds and ends; start
 * it twice to see the second one wait. With a directory it needs no cluster, without an argument it
 * finds one as 01_minimal.c does:
 *
 *     make examples && mkdir -p /tmp/leases && build/examples/07_cplusplus /tmp/leases
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

class Leadership {
public:
    using Listener = std::function<void(const lease_event &)>; /* on the client's thread */

    Leadership(const lease_client_desc &client_desc, lease_desc desc, Listener listener)
        : listener_(std::move(listener)) {
        lease_error error{};
        lease_client *client = nullptr;
        check(lease_client_create(&client_desc, &client, &error), error);
        client_.reset(client);
        desc.on_event = &Leadership::on_event;
        desc.user = this;
        desc.release_on_stop = true;
        check(lease_create(client, &desc, &lease_, &error), error);
        check(lease_client_start(client), error);
    }
    Leadership(const Leadership &) = delete; /* on_event has our address */
    Leadership &operator=(const Leadership &) = delete;

    explicit operator bool() const noexcept { return lease_is_leader(lease_); }
    std::uint64_t token() const noexcept { return lease_token(lease_); }
    std::chrono::milliseconds remaining() const noexcept {
        return std::chrono::milliseconds(lease_remaining_ms(lease_));
    }

private:
    struct Destroy {
        void operator()(lease_client *client) const noexcept { lease_client_destroy(client); }
    };
    static void check(lease_status status, const lease_error &error) {
        if (status == LEASE_OK) return;
        const bool told = error.message[0] != '\0';
        throw std::runtime_error(told ? error.message : lease_status_text(status));
    }
    static void on_event(lease *, const lease_event *event, void *user) noexcept {
        static_cast<Leadership *>(user)->listener_(*event); /* no exception may pass through C */
    }

    Listener listener_; /* before the client, which calls it until it is destroyed */
    std::unique_ptr<lease_client, Destroy> client_;
    lease *lease_ = nullptr; /* the client's */
};

int main(int argc, char **argv) {
    const lease_backend directory = lease_backend_file(argc > 1 ? argv[1] : "");
    lease_client_desc client_desc{};
    if (argc > 1) client_desc.backend = &directory;
    lease_desc desc{};
    desc.name = "cplusplus";
    if (argc > 1) desc.ns = "default";
    try {
        const Leadership leadership(client_desc, desc, [](const lease_event &event) {
            if (event.kind != LEASE_EVENT_LEADER_CHANGED) return;
            const char *holder = *event.holder != '\0' ? event.holder : "nobody";
            std::cout << "leader: " << holder << std::endl;
        });
        for (int led = 0; led < 3;) {
            if (leadership) {
                std::cout << "working, token " << leadership.token() << ", "
                          << leadership.remaining().count() << " ms left" << std::endl;
                led++;
            }
            std::this_thread::sleep_for(std::chrono::seconds(1));
        }
    } catch (const std::exception &problem) {
        std::cerr << problem.what() << std::endl;
        return 1;
    }
}
