# Adds up what gcov says of lease.h, and judges. Input: the exclusions, then for each program a line
# `program own FILE` or `program other FILE` and gcov's text of it. Place 0 of a line is the line
# itself, places 1, 2, ... are its branches.

BEGIN { whole["rules"] = whole["core"] = 1 } # the elector: nothing of it may be missed

FILENAME != "-" {
    if (/^#/ || /^$/) next
    excuse[++excuses] = $0
    if (split($0, part, "\t") != 3 || part[2] == "" || part[3] == "") fail("no exclusion: " $0)
    next
}
$1 == "program" {
    program[++programs] = $3
    own = $2 == "own"
    if ($2 == "unreadable") fail("gcov cannot read " $3)
    next
}
/^ *-: *0:Source:/ { ours = /[:\/]lease\.h$/; section = "" }
!ours { next }
/^function / { name = $2; next }
/^branch / {
    add(++branch, $3 == "taken" ? $4 : 0)
    if (branch > branches[line]) branches[line] = branch
    of_program[programs, section]++
    next
}
match($0, /^ *[-=#*0-9]+: *[1-9][0-9]*:/) {
    source = substr($0, RLENGTH + 1)
    split($0, field, ":")
    line = field[2] + 0
    branch = 0
    if (line > last) last = line
    if (source ~ /^ \* >>[a-z]+ -- /) enter(source)
    if (field[1] !~ /-/) add(0, field[1] + 0)
}

function enter(banner,   word) {
    split(banner, word, " ")
    section = substr(word[2], 3)
    if (!(section in entered)) order[++sections] = section
    entered[section] = 1
}
function add(place, count) {
    section_of[line] = section
    name_of[line] = name
    text_of[line] = source
    known[line, place] = 1
    if (section in whole) counted[programs] += own ? count : 1
    if (own || !(section in whole)) times[line, place] += count
}
function fail(what) {
    print "FAILED: " what
    failed++
}
function is_excused(line,   i, part) {
    for (i = 1; i <= excuses; i++) {
        split(excuse[i], part, "\t")
        if (used[i] || part[1] != name_of[line] || !index(text_of[line], part[2])) continue
        used[i] = 1
        return 1
    }
    return 0
}
function tell(line, place,   text, what) {
    text = text_of[line]
    sub(/^ +/, "", text)
    what = place ? "branch " place " of " branches[line] " is never taken" : "is never run"
    print "lease.h:" line ": " name_of[line] ": " what ": " text
}
function judge(line, place,   section, kind) {
    section = section_of[line]
    kind = place ? "branches" : "lines"
    all[section, kind]++
    if (times[line, place]) {
        run[section, kind]++
    } else if (!(section in whole)) {
        if (index(shown, " " section " ")) tell(line, place)
    } else if (!is_excused(line)) {
        tell(line, place)
        missed[section]++
    }
}
# The branches of one program can be added to those of another only if they are the same.
function differ(section,   i, count, first) {
    for (i = 1; i <= programs; i++) {
        count = of_program[i, section]
        if (!first) first = count
        if (count && count != first) return 1
    }
    return !first
}
function share(section, kind,   part) {
    part = run[section, kind] + 0
    return sprintf("%5d of %5d %5.1f %%", part, all[section, kind],
        100 * part / (all[section, kind] + !all[section, kind]))
}
function row(section) {
    if (!all[section, "lines"]) return
    printf "%-12s %s %s\n", section, share(section, "lines"), share(section, "branches")
    if (section == "lease.h") return
    split("lines branches", kinds, " ")
    for (i = 1; i <= 2; i++) {
        all["lease.h", kinds[i]] += all[section, kinds[i]]
        run["lease.h", kinds[i]] += run[section, kinds[i]]
    }
}

END {
    for (line = 1; line <= last; line++) {
        for (place = 0; place <= branches[line]; place++) {
            if ((line, place) in known) judge(line, place)
        }
    }
    printf "%-12s %15s %24s\n", "section", "lines", "branches"
    for (at = 1; at <= sections; at++) row(order[at])
    row("lease.h")
    for (section in whole) {
        if (differ(section)) fail(">>" section " is not the same in all programs")
        else if (missed[section]) fail(missed[section] " places of >>" section " are never reached")
        else passed++
    }
    for (i = 1; i <= programs; i++) {
        if (i in counted && !counted[i]) fail("nothing was counted in " program[i])
    }
    for (i = 1; i <= excuses; i++) {
        if (!used[i]) fail("nothing needs this exclusion: " excuse[i])
    }
    print passed + 0 " passed, " failed + 0 " failed"
    exit failed > 0
}
