# shellcheck shell=bash
# Daemons: started into their own session and the cluster's network, remembered by pid and start time.
# The start time tells a daemon from a later process that was given the same pid.

# start NAME COMMAND...: does nothing when NAME runs already.
start() {
    local name=$1
    shift
    alive "$name" && return 0
    mkdir -p "$STATE/logs" "$STATE/pids"
    setsid nsenter --net="/run/netns/$NETNS" -- "$@" >>"$STATE/logs/$name.log" 2>&1 </dev/null 9>&- &
    local pid=$!
    disown "$pid"
    echo "$pid $(start_time "$pid")" >"$STATE/pids/$name"
}

start_time() {
    # Field 22 of stat, counted from behind the name in brackets, which may hold spaces.
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

alive() {
    local pid began
    [[ -e $STATE/pids/$1 ]] || return 1
    read -r pid began <"$STATE/pids/$1"
    [[ -n $began && $(start_time "$pid") == "$began" && $(process_state "$pid") != Z ]]
}

process_state() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1
}

pid_of() {
    cut -d' ' -f1 "$STATE/pids/$1"
}

# stop NAME...: asks, then insists.
stop() {
    local name
    for name in "$@"; do
        if alive "$name"; then kill -TERM "$(pid_of "$name")" 2>/dev/null || true; fi
    done
    local deadline=$(($(date +%s%N) + 8000000000))
    for name in "$@"; do
        while alive "$name"; do
            if (($(date +%s%N) > deadline)); then kill -KILL "$(pid_of "$name")" 2>/dev/null || true; fi
            sleep 0.05
        done
        rm -f "$STATE/pids/$name"
    done
}

started_names() {
    [[ -d $STATE/pids ]] || return 0
    ls "$STATE/pids"
}

# dead NAME...: one of them was started and is gone.
dead() {
    local name
    for name in "$@"; do
        [[ ! -e $STATE/pids/$name ]] || alive "$name" || return 0
    done
    return 1
}
