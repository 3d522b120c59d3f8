# shellcheck shell=bash
# side_by_side RUN SHOW ITEM…: calls `RUN ITEM` for each item, as many at a time as there are cores, with what it prints in a
# file, then `SHOW ITEM EXIT_CODE SECONDS FILE` in the order of the list. It says meanwhile what is running, and the last line
# of each that began with "== ": on a terminal in one line that changes, in a log in a new line whenever that changes.
side_by_side() {
    local run=$1 show=$2 folder items next=0 shown=0 said='' code seconds running now stage i
    shift 2
    items=("$@")
    folder=$(mktemp -d)
    set -m # every job gets a process group of its own, which can be ended as a whole
    trap 'end_jobs; rm -rf "'"$folder"'"' EXIT
    while [ "$shown" -lt ${#items[@]} ]; do
        running=()
        for ((i = shown; i < next; i++)); do
            [ ! -e "$folder/$i.result" ] || continue
            stage=$(grep -a '^== ' "$folder/$i.log" 2>/dev/null | tail -n 1 || true)
            running+=("${items[i]}${stage:+ (${stage#== })}")
        done
        if [ ${#running[@]} -lt "$(nproc)" ] && [ "$next" -lt ${#items[@]} ]; then
            one_of_many "$run" "${items[next]}" "$folder/$next" &
            next=$((next + 1))
            continue
        fi
        now=$(printf ', %s' "${running[@]}")
        now="  running: ${now#, }"
        if [ -t 1 ]; then
            printf '\r\033[K%s' "${now:0:$(tput cols 2>/dev/null || echo 80)}"
        elif [ "$now" != "$said" ]; then
            echo "$now"
            said=$now
        fi
        sleep 0.5
        while [ -e "$folder/$shown.result" ]; do
            read -r code seconds <"$folder/$shown.result"
            [ ! -t 1 ] || printf '\r\033[K'
            "$show" "${items[shown]}" "$code" "$seconds" "$folder/$shown.log"
            shown=$((shown + 1))
        done
    done
    rm -r "$folder"
    trap - EXIT
    set +m
}
one_of_many() {  # RUN ITEM FILE
    local code=0 start=$SECONDS
    trap - EXIT
    ("$1" "$2") >"$3.log" 2>&1 </dev/null || code=$?
    echo "$code $((SECONDS - start))" >"$3.new"
    mv "$3.new" "$3.result"
}
end_jobs() {
    local job
    for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
}
