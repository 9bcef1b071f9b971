#!/usr/bin/env bash
# Three Kafka brokers on this machine, for the tests of the log's engine.
#
#   kafka.sh install          Java, Maven and Kafka's jars; quick where they are there
#   kafka.sh jars             prints the folder of the jars
#   kafka.sh start DIR        starts the brokers with everything below DIR; writes DIR/env and DIR/pids
#   kafka.sh stop DIR         ends them and waits for them
#   kafka.sh kill DIR N       ends broker N (1 to 3) at once, as a power cut would
#   kafka.sh revive DIR N...  starts such brokers again on what they have left
#   kafka.sh pause DIR N...   lets brokers hang: their connections stay, and nothing is answered
#   kafka.sh resume DIR N...  lets them go on where they were
#
# Each is broker and controller (KRaft), has 256 MB of heap, and listens on loopback only.
set -euo pipefail

VERSION="${KAFKA_VERSION:-4.1.0}"
HOME_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/reckon/kafka-$VERSION"
JARS="$HOME_DIR/jars"
# What Java makes of the classes of a broker, so that brokers start in half the time.
CLASSES="$HOME_DIR/classes.jsa"
NODES=(1 2 3)
JAVA_OPTIONS="-Xmx256m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:disable"
# How long brokers may take to answer, in tenths of a second.
START_MAX=1200
# How long they may take to end by themselves, in tenths of a second.
STOP_MAX=150

install() {
    local missing=()
    command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
    command -v mvn >/dev/null || missing+=(maven)
    if [ ${#missing[@]} -gt 0 ]; then
        echo "installing ${missing[*]}" >&2
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    fi
    [ -e "$HOME_DIR/whole" ] || fetch
    [ -e "$CLASSES" ] || archive
}

# The jars are whole once the last line of this has run: half of them are fetched again.
fetch() {
    rm -rf "$HOME_DIR"
    mkdir -p "$JARS"
    cat >"$HOME_DIR/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>reckon</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
  </dependencies>
</project>
POM
    (cd "$HOME_DIR" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >maven.log 2>&1) || {
        cat "$HOME_DIR/maven.log" >&2
        return 1
    }
    touch "$HOME_DIR/whole"
}

# Runs Java on Kafka's classes.
java_on_kafka() {
    # shellcheck disable=SC2086
    exec java $JAVA_OPTIONS -cp "$JARS/*" "$@"
}

# Runs one of Kafka's tools.
kafka() { (java_on_kafka -XX:SharedArchiveFile="$CLASSES" "$@"); }

# Runs a broker behind this script's back.
launch() {
    local dir="$1" folder="$1/broker-$2"
    shift 2
    (trap '' HUP && java_on_kafka "$@" kafka.Kafka "$folder/server.properties") \
        </dev/null >>"$folder/log" 2>&1 &
    echo $! >"$folder/pid"
    cat "$dir"/broker-*/pid >"$dir/pids"
}

# Leaves the archive of classes behind: a broker that runs alone for a moment writes it as it ends.
# Where there is none, brokers start all the same.
archive() {
    local dir NODES=(1) STOP_MAX=$START_MAX
    dir=$(mktemp -d "${TMPDIR:-/tmp}/reckon-kafka.XXXXXX")
    free_ports >"$dir/base"
    format "$dir" && launch "$dir" 1 -XX:ArchiveClassesAtExit="$CLASSES.new" && await "$dir" 1 || true
    stop "$dir"
    [ ! -e "$CLASSES.new" ] || mv -f "$CLASSES.new" "$CLASSES"
    rm -rf "$dir"
}

# A process that has ended and that nobody has asked about yet counts as gone.
is_alive() { [ -e "/proc/$1/stat" ] && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null; }

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Formats what each broker keeps its data in.
format() {
    local dir="$1" node id
    id=$(kafka kafka.tools.StorageTool random-uuid 2>"$dir/format.log" | tail -n 1)
    for node in "${NODES[@]}"; do
        configure "$dir" "$node"
        kafka kafka.tools.StorageTool format -t "$id" -c "$dir/broker-$node/server.properties" \
            >>"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; return 1; }
    done
}

# Six ports in a row that nobody listens on: a broker's and its controller's for each.
free_ports() {
    local base port
    for base in $(shuf -i 20000-29990 -n 50); do
        for port in $(seq "$base" $((base + 5))); do
            is_taken "$port" && continue 2
        done
        echo "$base"
        return
    done
    echo "no six free ports in a row between 20000 and 30000" >&2
    return 1
}

broker_port() { echo $(($(cat "$1/base") + 2 * ($2 - 1))); }

configure() {
    local dir="$1" node="$2" base voters="" each
    base=$(cat "$dir/base")
    for each in "${NODES[@]}"; do
        voters+="${voters:+,}$each@127.0.0.1:$((base + 2 * (each - 1) + 1))"
    done
    mkdir -p "$dir/broker-$node"
    cat >"$dir/broker-$node/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$((base + 2 * (node - 1))),CONTROLLER://127.0.0.1:$((base + 2 * (node - 1) + 1))
controller.listener.names=CONTROLLER
log.dirs=$dir/broker-$node/data
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
PROPERTIES
}

# Starts some brokers, without waiting for them.
launch_all() {
    local dir="$1" node
    shift
    for node in "$@"; do launch "$dir" "$node" -XX:SharedArchiveFile="$CLASSES"; done
}

# Waits until a broker listens; fails where its process ends before.
await() {
    local dir="$1" node="$2" pid
    pid=$(cat "$dir/broker-$node/pid")
    for _ in $(seq "$START_MAX"); do
        is_taken "$(broker_port "$dir" "$node")" && return
        is_alive "$pid" || break
        sleep 0.1
    done
    echo "broker $node did not start:" >&2
    tail -n 40 "$dir/broker-$node/log" >&2
    return 1
}

# A topic with three copies can be made only once all three brokers know each other.
await_all() {
    local dir="$1" node
    for node in "${NODES[@]}"; do await "$dir" "$node" || return 1; done
    for _ in $(seq 20); do
        kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$(broker_port "$dir" 1)" \
            --create --if-not-exists --topic reckon-ready --partitions 1 --replication-factor 3 \
            >"$dir/ready" 2>&1 && return
        sleep 0.5
    done
    cat "$dir/ready" >&2
    return 1
}

start() {
    local dir="$1" node
    [ -e "$HOME_DIR/whole" ] || { echo "Kafka is missing: run kafka.sh install" >&2; exit 1; }
    [ ! -e "$dir/pids" ] || { echo "$dir has brokers already: run kafka.sh stop $dir" >&2; exit 1; }
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    free_ports >"$dir/base"
    format "$dir" || exit 1
    launch_all "$dir" "${NODES[@]}"
    await_all "$dir" || {
        tail -n 20 "$dir"/broker-*/log >&2
        stop "$dir"
        exit 1
    }
    cat >"$dir/env" <<ENV
export RECKON_TEST_KAFKA=127.0.0.1:$(broker_port "$dir" 1),127.0.0.1:$(broker_port "$dir" 2),127.0.0.1:$(broker_port "$dir" 3)
export RECKON_TEST_KAFKA_DIR=$dir
ENV
}

# Waits until a process is gone; after a while it is not asked any more.
bury() {
    for _ in $(seq "$STOP_MAX"); do
        is_alive "$1" || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
    while is_alive "$1"; do sleep 0.1; done
}

stop() {
    local dir="$1" pid
    [ -e "$dir/pids" ] || return 0
    while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$dir/pids"
    # One that hangs hears of its end when it goes on.
    while read -r pid; do kill -CONT "$pid" 2>/dev/null || true; done <"$dir/pids"
    while read -r pid; do bury "$pid"; done <"$dir/pids"
    rm "$dir/pids"
}

kill_one() {
    local pid
    pid=$(cat "$1/broker-$2/pid")
    kill -KILL "$pid" 2>/dev/null || true
    bury "$pid"
}

# All of them before any is waited for: one alone has nobody to vote with.
revive() {
    local dir="$1" node
    shift
    launch_all "$dir" "$@"
    for node in "$@"; do await "$dir" "$node"; done
}

# Sends a signal to some brokers.
signal() {
    local signal="$1" dir="$2" node
    shift 2
    for node in "$@"; do kill "-$signal" "$(cat "$dir/broker-$node/pid")"; done
}

case "${1:-}" in
install) install ;;
jars) install && echo "$JARS" ;;
start) start "$2" ;;
stop) stop "$2" ;;
kill) kill_one "$2" "$3" ;;
revive) shift && revive "$@" ;;
pause) shift && signal STOP "$@" ;;
resume) shift && signal CONT "$@" ;;
*)
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
