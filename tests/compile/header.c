/* The interface alone: every public name can be used without the implementation's headers. */
#include "lease.h"
#include "lease.h"

#ifndef LEASE_VERSION_STRING
#error "lease.h gives no version"
#endif

int uses_the_interface(const lease *self, lease_core *core, const lease_core_input *input);

int uses_the_interface(const lease *self, lease_core *core, const lease_core_input *input) {
    lease_core_output output;
    lease_core_step(core, input, &output);
    return lease_is_leader(self) && output.action == LEASE_ACTION_NONE;
}
