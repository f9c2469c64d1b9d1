/* Paths as text, and their stories. */
#include <stdarg.h>
#include <string.h>

#include "exhaustive.h"

static const struct {
    char letter;
    const char *text;
} story_choices[EX_CHOICE_KINDS] = {
    [EX_ORIGIN] = {'o', ""},
    [EX_TIME] = {'t', "time passes"},
    [EX_STEP] = {'s', "acts"},
    [EX_DELIVER] = {'d', "arrives"},
    [EX_COPY] = {'c', "arrives, and another copy is still under way"},
    [EX_DROP] = {'x', "is lost"},
    [EX_ERROR] = {'e', "fails at the server"},
    [EX_ERROR_APPLIED] = {'f', "is applied, and then fails at the server"},
    [EX_NO_CONNECTION] = {'n', "finds no connection"},
    [EX_REFUSE] = {'r', "is refused"},
    [EX_CRASH] = {'k', "crashes"},
    [EX_START] = {'b', "starts"},
    [EX_RELEASE] = {'l', "is asked to release"},
    [EX_CONTEND] = {'q', "is asked to contend"},
    [EX_DELETE] = {'D', "deletes the Lease"},
    [EX_CLEAR] = {'C', "empties the holder"},
    [EX_EDIT] = {'E', ""},
    [EX_DURATION] = {'L', ""},
    [EX_TOUCH] = {'T', "touches the metadata"},
};

const char *ex_happened_text(ex_happened what) {
    static const char *const texts[] = {
#define EX_TEXT(name, text) text,
        EX_HAPPENED_LIST(EX_TEXT)
#undef EX_TEXT
    };
    return texts[what];
}

void ex_print_path(FILE *out, const ex_choice *path, int32_t length) {
    for (int32_t i = 0; i < length; i++) {
        fprintf(out, "%c%u", story_choices[path[i].kind].letter, (unsigned)path[i].which);
    }
}

bool ex_parse_path(const char *text, ex_choice *path, int32_t *length) {
    *length = 0;
    while (*text != '\0') {
        uint8_t kind = 0;
        while (kind < EX_CHOICE_KINDS && story_choices[kind].letter != *text) kind++;
        const bool digit = text[1] >= '0' && text[1] <= '9';
        if (kind == EX_CHOICE_KINDS || !digit || *length == EX_PATH) return false;
        path[*length].kind = kind;
        path[(*length)++].which = (uint8_t)(text[1] - '0');
        text += 2;
    }
    return *length > 0;
}

void ex_tell(const ex_world *world, const ex_node *node, const char *format, ...) {
    if (!world->tells) return;
    va_list values;
    if (node != NULL) printf("             %c ", (int)('a' + (node - world->nodes)));
    if (node == NULL) printf("             the server: ");
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    printf("\n");
}

static void tell_who(const ex_world *world, ex_choice choice) {
    static const char *const origins[] = {"the Lease is absent", "the Lease is unheld",
                                          "the Lease is held by a stranger"};
    static const char *const holders[] = {"a", "b", "a stranger"};
    char name[16];
    if (choice.kind == EX_ORIGIN) {
        printf("%s", origins[choice.which % EX_ORIGINS]);
    } else if (choice.kind >= EX_DELIVER && choice.kind <= EX_REFUSE) {
        const ex_message *message = &world->messages[choice.which];
        ex_put_name(name, message->sender);
        printf("%s's %s %u ", name, message->kind == EX_REQUEST ? "request" : "answer",
               (unsigned)message->id);
    } else if (choice.kind == EX_EDIT) {
        printf("the admin makes %s the holder", holders[choice.which % 3]);
    } else if (choice.kind == EX_DURATION) {
        printf("the admin makes the duration %d s",
               (int)(choice.which == 0 ? 0 : world->scope->max_duration_s));
    } else if (choice.kind >= EX_DELETE) {
        printf("the admin ");
    } else if (choice.kind != EX_TIME) {
        printf("%c ", 'a' + choice.which);
    }
}

void ex_tell_choice(const ex_world *world, ex_choice choice) {
    printf("%8d ms  ", (int)(world->nodes[0].now_ms - EX_BASE_MS));
    tell_who(world, choice);
    printf("%s\n", story_choices[choice.kind].text);
}

static bool can_go(const ex_world *world, ex_choice choice, bool first) {
    ex_choice choices[EX_CHOICES];
    if (first) return choice.kind == EX_ORIGIN && choice.which < EX_ORIGINS;
    const int32_t count = ex_choices(world, choices);
    for (int32_t i = 0; i < count; i++) {
        if (choices[i].kind == choice.kind && choices[i].which == choice.which) return true;
    }
    return false;
}

bool ex_replay(const ex_scope *scope, const ex_choice *path, int32_t length) {
    uint8_t bytes[EX_PACKED];
    ex_world world;
    ex_init(&world, scope);
    world.tells = true;
    printf("(times are on the clock of a)\n");
    for (int32_t i = 0; i < length && world.failure[0] == '\0'; i++) {
        if (!can_go(&world, path[i], i == 0)) {
            printf("step %d of the path is not possible here\n", (int)i + 1);
            return false;
        }
        ex_apply(&world, path[i]);
        if (world.failure[0] == '\0') ex_pack(&world, bytes);
    }
    if (world.failure[0] != '\0') printf("FAILED: %s\n", world.failure);
    return world.failure[0] == '\0';
}
