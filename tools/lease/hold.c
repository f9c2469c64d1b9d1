/* hold.c -- lease hold: the sidecar. Holds without a command, contends again after every loss;
 * others ask it over HTTP. The work that the Lease guards runs elsewhere, so a release at the end
 * is the user's decision (--release). */
#include "tool.h"

#include <stdio.h>

int hold_main(const struct options *options)
{
    struct session session;
    if (!session_open(&session, options)) {
        session_close(&session);
        return CODE_FAILED;
    }
    int code = 0;
    bool asked = false;
    bool gave_up = false;
    while (!asked && !gave_up) {
        session_wait(&session, session_give_up_ms(&session));
        for (int number; (number = session_signal(&session)) != 0;) {
            if (is_stop_signal(number)) asked = true;
        }
        session_work(&session);
        gave_up = !asked && session_gave_up(&session, &code);
    }
    if (options->release || gave_up) session_release(&session);
    char extra[32];
    snprintf(extra, sizeof extra, "\"code\":%d", code);
    session_log(&session, LEASE_LOG_INFO, "stop", gave_up ? "not_acquired" : "signal", extra,
                "exit %d", code);
    session_close(&session);
    return code;
}
