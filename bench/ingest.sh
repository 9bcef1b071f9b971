#!/usr/bin/env bash
# Durable ingest of clicks in batches, beside a Kafka broker that takes the same bytes.
#
# reckon: HTTP batches of NDJSON with a token in each line; each event is opened, judged, logged,
# synced, counted and checked. Kafka: one broker (KRaft) stores the same lines as records, sent by its
# own kafka-producer-perf-test with acks=all, and syncs when the kernel likes. In turns; load and
# server share the machine. Prints the median of each and their ratio.
#
#   ROUNDS=3 EVENTS=1000000 BATCH=1000 bash bench/ingest.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

ROUNDS="${ROUNDS:-3}"
EVENTS="${EVENTS:-1000000}"
BATCH="${BATCH:-1000}"
CONNECTIONS="${CONNECTIONS:-8}"
KAFKA_VERSION="${KAFKA_VERSION:-4.1.0}"
# A Java machine needs some seconds to get going, so Kafka sends more and its best 5 seconds count.
KAFKA_EVENTS="${KAFKA_EVENTS:-4000000}"
PARTITIONS="${PARTITIONS:-4}"

kafka() {
    mkdir -p "$WORK/kafka/jars"
    cat >"$WORK/kafka/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
  </dependencies>
</project>
POM
    (cd "$WORK/kafka" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >maven.log 2>&1) || {
        cat "$WORK/kafka/maven.log" >&2
        return 1
    }
}

kafka() {
    local heap="$1"
    shift
    java "-Xmx$heap" "-Xms$heap" -XX:+UseG1GC -cp "$JARS/*" "$@"
}

start_kafka() {
    local data="$WORK/kafka/data" id
    for port in $(shuf -i 30000-39998 -n 10); do
        rm -rf "$data"
        cat >"$WORK/kafka/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
log.dirs=$data
num.partitions=$PARTITIONS
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
        id=$(kafka 256m kafka.tools.StorageTool random-uuid 2>>"$WORK/kafka/log" | tail -n 1)
        kafka 256m kafka.tools.StorageTool format -t "$id" -c "$WORK/kafka/server.properties" >>"$WORK/kafka/log" 2>&1
        java -Xmx1g -Xms1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -cp "$JARS/*" kafka.Kafka \
            "$WORK/kafka/server.properties" >>"$WORK/kafka/log" 2>&1 &
        PEER_PID=$!
        KAFKA="127.0.0.1:$port"
        for _ in $(seq 120); do
            # The broker listens once it can take records.
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && sleep 2 && return
            kill -0 "$PEER_PID" 2>/dev/null || break
            sleep 0.25
        done
        stop_peer
    done
    tail -n 40 "$WORK/kafka/log" >&2
    return 1
}

# The highest rate that the perf test tells: of one of its windows of 5 seconds, or of the whole run.
run_kafka() {
    kafka 512m org.apache.kafka.tools.ProducerPerformance --topic ad-clicks --num-records "$KAFKA_EVENTS" \
        --throughput -1 --payload-file "$WORK/events" --producer-props "bootstrap.servers=$KAFKA" acks=all \
        batch.size=262144 linger.ms=5 >"$WORK/kafka/perf" 2>>"$WORK/kafka/log" || {
        tail -n 20 "$WORK/kafka/log" >&2
        return 1
    }
    sed -n 's/.*records sent, \([0-9.]*\) records\/sec.*/\1/p' "$WORK/kafka/perf" | sort -g | tail -n 1
}

field() {
    sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$2"
}

machine
JARS=$(KAFKA_VERSION="$KAFKA_VERSION" bash deploy/engines/kafka.sh jars)
mkdir -p "$WORK/kafka"
start_reckon
# The perf test draws its payloads from these lines.
"$RECKON" bench mint --to "$RECKON_URL" --events --count 20000 >"$WORK/events"
bytes=$(($(wc -c <"$WORK/events") / 20000))
start_kafka
echo "peer: Apache Kafka $KAFKA_VERSION, one broker (KRaft, 1 GB heap), $PARTITIONS partitions, acks=all, 256 KB batches, no compression, not synced; $KAFKA_EVENTS records a round, the best 5 s of them"
echo "load: $EVENTS events of $bytes bytes a round, $ROUNDS rounds in turns; reckon: batches of $BATCH over $CONNECTIONS connections, synced before each answer"
ours=() theirs=() counted=()
for round in $(seq "$ROUNDS"); do
    "$RECKON" bench ingest --to "$RECKON_URL" --count "$EVENTS" --batch "$BATCH" --connections "$CONNECTIONS" \
        --seconds 120 --json >"$WORK/round"
    ours+=("$(field events_per_second "$WORK/round")")
    counted+=("$(field counted_per_second "$WORK/round")")
    rate=$(run_kafka)
    theirs+=("$rate")
    echo "round $round: reckon ${ours[-1]%.*} events/s acknowledged, ${counted[-1]%.*} counted; kafka ${rate%.*}"
done
our=$(median "${ours[@]}") their=$(median "${theirs[@]}") count=$(median "${counted[@]}")
echo "median: reckon ${our%.*} events/s acknowledged, ${count%.*} until counted and visible; kafka ${their%.*}"
echo "ratio: $(ratio "$our" "$their") acknowledged, $(ratio "$count" "$their") counted"
