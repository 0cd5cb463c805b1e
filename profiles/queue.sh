#!/bin/sh
# How jobs go to Grid Engine, PBS and HTCondor: Snakemake's plugin `cluster-generic` calls this for their profiles.
#
#   queue.sh KIND submit NAME THREADS MEGABYTES MINUTES [OPTIONS ...] JOBSCRIPT       prints the job's number
#   queue.sh KIND status NUMBER                                        prints running, success or failed
#
# KIND is sge, pbs or htcondor; OPTIONS are the site's own, of qsub or condor_submit. A job writes its exit code beside
# Snakemake's notes when it ends. One that the queue no longer knows and that has left no code was killed (memory, time,
# a lost node): it has failed, and Snakemake sends it again (`retries`).
set -eu
kind=$1 what=$2
shift 2
codes=$PWD/.snakemake/queue
mkdir -p "$codes"

# What the queue runs. The code is written beside and moved: a reader never sees half of it.
wrapped() {
    printf '%s\n' "#!/bin/sh" "number=$2" "cd '$PWD'" "sh '$1'" 'code=$?' \
        "echo \$code > '$codes'/.\$number.part && mv '$codes'/.\$number.part '$codes'/\$number.code" 'exit $code'
}

submit() {
    name=$1 threads=$2 megabytes=$3 minutes=$4
    shift 4
    for script; do :; done
    # All but the last, which is the script.
    count=$#
    while [ "$count" -gt 1 ]; do
        set -- "$@" "$1"
        shift
        count=$((count - 1))
    done
    shift
    time=$(printf '%d:%02d:00' $((minutes / 60)) $((minutes % 60)))
    case $kind in
    sge)
        [ "$threads" -eq 1 ] || set -- -pe "${SGE_PE:-smp}" "$threads" "$@"
        # Memory is asked for in each slot.
        slot=$(((megabytes + threads - 1) / threads))
        wrapped "$script" '$JOB_ID' | qsub -terse -cwd -V -S /bin/sh -j y -o "$codes" -N "$name" -l "h_rt=$time" \
            -l "${SGE_MEMORY:-mem_free}=${slot}M" "$@"
        ;;
    pbs)
        size=select=1:ncpus=$threads:mem=${megabytes}mb
        [ "${PBS_KIND:-}" != torque ] || size=nodes=1:ppn=$threads,mem=${megabytes}mb
        wrapped "$script" '${PBS_JOBID%%.*}' | qsub -V -j oe -o "$codes/" -N "$(printf %.15s "$name")" -l "$size" \
            -l "walltime=$time" "$@"
        ;;
    htcondor)
        wrapper=$codes/$name.sh
        wrapped "$script" '$1' >"$wrapper"
        cat >"$codes/$name.sub" <<SUBMIT
universe = vanilla
executable = /bin/sh
arguments = "'$wrapper' \$(Cluster)"
initialdir = $PWD
getenv = True
request_cpus = $threads
request_memory = ${megabytes}MB
allowed_execute_duration = $((minutes * 60))
output = $codes/$name.o\$(Cluster)
error = $codes/$name.o\$(Cluster)
log = $codes/condor.log
queue
SUBMIT
        condor_submit -terse "$@" "$codes/$name.sub" | sed 's/\..*//'
        ;;
    esac
}

# A queue that does not answer, while it starts anew or is overloaded, has not ended its jobs.
answers() {
    qstat >/dev/null 2>&1
}

known() {
    case $kind in
    sge) qstat -j "$1" >/dev/null 2>&1 || ! answers ;;
    # A finished job may be listed for a while: C in Torque, F in PBS.
    pbs) qstat "$1" 2>/dev/null | awk -v id="$1" 'index($1, id) == 1 && $(NF - 1) !~ /^[CF]$/ {n = 1} END {exit !n}' || ! answers ;;
    # 3 and 4: removed and completed.
    htcondor) states=$(condor_q "$1" -autoformat JobStatus 2>/dev/null) || return 0; echo "$states" | grep -q '[^34 ]' ;;
    esac
}

# A job that waits for ever: Grid Engine's Eqw, and one that HTCondor holds (over its memory or time, or a wrong path).
stuck() {
    case $kind in
    sge) qstat 2>/dev/null | awk -v id="$1" '$1 == id && $5 ~ /E/ {n = 1} END {exit !n}' ;;
    htcondor) condor_q "$1" -autoformat JobStatus 2>/dev/null | grep -q 5 ;;
    *) return 1 ;;
    esac
}

# Why a job is gone, for the reader of the failure.
why() {
    case $kind in
    sge) qacct -j "$1" 2>/dev/null | grep -E '^(failed|exit_status|maxvmem|ru_wallclock|category)' ;;
    htcondor) condor_q "$1" -autoformat HoldReason 2>/dev/null ;;
    pbs) qstat -x -f "$1" 2>/dev/null | grep -E 'comment|Exit_status|resources_used' ;;
    esac
}

gone() {
    {
        echo "the queue ended job $1 before it was through"
        why "$1" || true
    } >"$codes/gone.o$1"
    echo failed
}

status() {
    number=${1%%.*}
    code=$codes/$number.code
    tries=0
    while [ ! -e "$code" ]; do
        if stuck "$number"; then
            gone "$number"
            if [ "$kind" = sge ]; then qdel "$number"; else condor_rm "$number"; fi >/dev/null 2>&1 || true
            return
        fi
        if known "$number"; then
            echo running
            return
        fi
        # A network disk shows a new file late.
        tries=$((tries + 1))
        if [ "$tries" -gt "${QUEUE_PATIENCE:-6}" ]; then
            gone "$number"
            return
        fi
        sleep 5
    done
    if [ "$(cat "$code")" = 0 ]; then echo success; else echo failed; fi
}

"$what" "$@"
